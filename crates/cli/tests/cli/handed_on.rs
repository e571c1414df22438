//! A run and the experiment that goes on from what it leaves.

use crate::run;

/// A small classifier of drawn images. Parameters and scaling of the pixels are not its backbone's own.
pub struct First {
    pub train_per_class: usize,
    pub validation_per_class: usize,
    pub preprocessing: &'static str,
    pub epochs: usize,
}

impl First {
    /// A folder with the run `first` of this experiment, and the file of the next one.
    pub fn followed_by(self, next: &str) -> tempfile::TempDir {
        let Self { train_per_class, validation_per_class, preprocessing, epochs } = self;
        let first = format!(
            r#"
name = "first"
[data]
generated = "shapes"
train_per_class = {train_per_class}
validation_per_class = {validation_per_class}
image_size = [32, 32]
[backbone]
plugin = "small_cnn"
weights = "none"
preprocessing = "{preprocessing}"
parameters = {{ filters = [4, 8] }}
[[phases]]
epochs = {epochs}
unfreeze = "all"
batch_norm = "update"
"#
        );
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("first.toml"), first).expect("written");
        std::fs::write(folder.path().join("next.toml"), next).expect("written");
        run(folder.path(), &["train", "first.toml", "--run-dir", "first"]).succeeds();
        folder
    }
}
