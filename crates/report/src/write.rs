use std::path::{Path, PathBuf};

use crate::curves::run_figure;
use crate::html::report;
use crate::run::Run;
use crate::scene::Scene;
use crate::svg::{Colours, to_svg};
use crate::{ReportError, raster};

/// Writes `plots/curves.svg`, `plots/curves.png` and `report.html` into the run's folder, replaces earlier ones, and returns
/// the path of the report.
///
/// # Errors
/// [`ReportError`] if the folder does not hold a run, or if a file cannot be read or written.
pub fn write(folder: &Path) -> Result<PathBuf, ReportError> {
    let run = Run::load(folder)?;
    write_figure(&run_figure(&run).beside(), &folder.join("plots"), "curves")?;
    let page = folder.join("report.html");
    write_file(&page, report(&run).as_bytes())?;
    Ok(page)
}

/// Writes a figure as `NAME.svg` and `NAME.png`, and creates the folder.
pub(crate) fn write_figure(figure: &Scene, folder: &Path, name: &str) -> Result<(), ReportError> {
    std::fs::create_dir_all(folder).map_err(|source| ReportError::Io { path: folder.to_owned(), source })?;
    write_file(&folder.join(format!("{name}.svg")), to_svg(figure, Colours::Fixed).as_bytes())?;
    let path = folder.join(format!("{name}.png"));
    let png = raster::to_png(figure).map_err(|reason| ReportError::Png { path: path.clone(), reason })?;
    write_file(&path, &png)
}

pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    std::fs::write(path, bytes).map_err(|source| ReportError::Io { path: path.to_owned(), source })
}
