//! The way from an experiment to what is known before anything is computed, for the commands that do not train.

use anyhow::Result;
use injerto_backbones::weights::Cache;
use injerto_config::Config;
use injerto_experiment::Prepared;

use crate::output::{self, note};
use crate::progress::Looking;
use crate::{Common, inventory};

/// Prepares an experiment with a bar for the look at its images, and tells what was left out and what is probably a mistake.
pub fn prepare(config: Config, common: &Common) -> Result<Prepared> {
    let looking = Looking::new();
    let prepared =
        Prepared::watched(config, &mut common.catalog()?, &Cache::of_user()?, &|done, all| looking.show(done, all));
    looking.end();
    let prepared = prepared?;
    inventory::skipped(&prepared).iter().for_each(|line| note!("{line}"));
    let warnings = inventory::warnings(&prepared);
    warnings.iter().chain(&prepared.warnings).for_each(|warning| output::warning(warning));
    Ok(prepared)
}
