//! An experiment written out.

use crate::values::Config;

impl Config {
    /// The experiment as TOML with every default written out. [`Config::parse`] reads the same experiment from it.
    pub fn to_toml(&self) -> String {
        let table = toml::Table::try_from(self).expect("an experiment is plain data with names for keys");
        // Two levels of headers, then values in one line each, as one writes it by hand.
        let lines =
            |table: &toml::Table| table.iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<String>();
        let (mut top, mut sections) = (String::new(), String::new());
        for (key, value) in &table {
            match value {
                toml::Value::Table(table) => sections += &format!("\n[{key}]\n{}", lines(table)),
                toml::Value::Array(items) => {
                    for table in items.iter().filter_map(toml::Value::as_table) {
                        sections += &format!("\n[[{key}]]\n{}", lines(table));
                    }
                }
                value => top += &format!("{key} = {value}\n"),
            }
        }
        top + &sections
    }
}
