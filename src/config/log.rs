//! The section about logs.

/// Settings about logs.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogConfig {
    /// Form of the log; auto is text on a terminal and JSON elsewhere.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "auto")]
    pub log_format: LogFormat,
    /// What to log: levels, by module, as `tracing` has them. Of libraries never more than warnings.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log_filter: String,
}

/// Form of the log.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}
