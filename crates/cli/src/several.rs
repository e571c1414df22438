//! Figures of photos that may have several classes, in words.

use anyhow::Result;
use injerto_files::printable;
use injerto_report::words::grouped;
use injerto_trainer::metrics::MultiLabelReport;

use crate::output::out;

/// The figures of all classes together.
pub fn summary(report: &MultiLabelReport) -> String {
    let precision =
        report.mean_average_precision.map_or(String::new(), |it| format!("mean average precision {it:.4}, "));
    format!(
        "{precision}F1 {:.4} macro and {:.4} micro by the thresholds of the classes ({:.4} macro at one half), all classes right on \
         {:.1} % of {} photos",
        report.macro_mean.f1,
        report.micro.f1,
        report.macro_f1_at_half,
        report.exact_match * 100.0,
        grouped(report.images)
    )
}

/// Prints the figures of all classes together.
pub fn figures(report: &MultiLabelReport) -> Result<()> {
    let loss = report.loss.map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    out!("{} photos: binary accuracy {:.4}{loss}", grouped(report.images), report.binary_accuracy)?;
    out!("{}", summary(report))?;
    Ok(())
}

/// Prints a line per class.
pub fn classes(report: &MultiLabelReport) -> Result<()> {
    let names: Vec<String> = report.per_class.iter().map(|class| printable(&class.class).to_string()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    out!("{:width$}  {:>7}  threshold      AP  precision  recall      F1", "class", "photos")?;
    for (name, class) in names.iter().zip(&report.per_class) {
        let average = class.average_precision.map_or_else(|| "     –".to_owned(), |value| format!("{value:.4}"));
        out!(
            "{name:width$}  {:>7}     {:.4}  {average}     {:.4}  {:.4}  {:.4}",
            grouped(class.support),
            class.threshold,
            class.precision,
            class.recall,
            class.f1
        )?;
    }
    Ok(())
}
