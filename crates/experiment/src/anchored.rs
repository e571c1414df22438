use std::path::Path;

use injerto_config::{Config, Images};
use injerto_data::folder::{Grouping, Labels};
use injerto_files::absolute;

use crate::source::root;

/// The experiment as it is written into a run's folder. The folder of the images, the weight file and the plugin have absolute
/// paths, so that they are found from any folder. The roots that the user wrote stay in the list after the absolute one, for
/// a run that is moved together with its images.
pub(crate) fn anchored(config: &Config) -> Config {
    let mut config = config.clone();
    // TOML cannot hold an absolute path that is not UTF-8; such a path stays as it was written.
    let named = |path: &Path| Some(absolute(path)).filter(|path| path.to_str().is_some());
    let file = |text: &str| {
        let path = Path::new(text);
        let is_path = path.extension().is_some() || path.components().count() > 1;
        let found = named(path).filter(|_| is_path && path.is_file())?;
        found.to_str().map(str::to_owned)
    };
    if let Some(found) = root(&config).and_then(named)
        && let Images::Folder { root } = &mut config.data.images
    {
        root.retain(|root| *root != found);
        root.insert(0, found);
    }
    // A list that is named by its place below the root is found there again.
    let labels = config.data.labels.iter_mut().flat_map(Labels::files_mut).filter(|list| list.exists());
    let lists = config.data.split.iter_mut().chain(labels).chain(match &mut config.data.group {
        Some(Grouping::Csv { csv, .. }) => Some(csv),
        _ => None,
    });
    for path in lists {
        if let Some(found) = named(path) {
            *path = found;
        }
    }
    if let Some(distill) = &mut config.distill
        && let Some(found) = named(&distill.teacher)
    {
        distill.teacher = found;
    }
    for text in [&mut config.backbone.weights, &mut config.backbone.plugin] {
        if let Some(path) = file(text) {
            *text = path;
        }
    }
    config
}
