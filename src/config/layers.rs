//! The layers of configuration: flag, environment, file, default.
//!
//! Every flag of every command also reads its environment variable, and takes its default from the file. Paths in the file are relative to
//! the working directory, as they are in a flag. Absent on purpose: any list of settings; the commands are the list.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::PathBuf,
};

use clap::{
    Arg, ArgAction, Command, Parser,
    builder::{BoolishValueParser, StyledStr},
    error::{ContextKind, ContextValue, ErrorKind},
};
use toml::{Table, Value};

const FILE_FLAG: &str = "config";

/// Reads the command line of `C`, whose flags are completed from the environment and from the file that `--config` names.
///
/// # Errors
/// What is wrong with the flags or with the file, to be shown as `clap` does; also the help, when that was asked for.
pub fn parse<C: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<C, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = C::command();
    let file = match file_named_in(&arguments) {
        None => SettingsFile::default(),
        Some(path) => SettingsFile::read(path, &command).map_err(|problem| command.error(ErrorKind::ValueValidation, problem))?,
    };
    command = file.complete(command);
    let matches = command.try_get_matches_from_mut(&arguments).map_err(|error| file.explain(error, &arguments))?;
    C::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The settings file, as the flag or the environment names it. Read before anything else, because it decides what the rest means.
fn file_named_in(arguments: &[OsString]) -> Option<PathBuf> {
    let flag = format!("--{FILE_FLAG}");
    let mut arguments = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if *argument == *flag {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|text| text.strip_prefix(&flag)?.strip_prefix('=')) {
            return Some(path.into());
        }
    }
    env::var_os(variable(FILE_FLAG)).map(PathBuf::from)
}

/// The name in the environment of a flag.
fn variable(flag: &str) -> String {
    format!("USERDATA_{}", flag.replace('-', "_").to_uppercase())
}

/// The name in the file of a flag.
fn key(flag: &str) -> String {
    flag.replace('-', "_")
}

/// The settings of one file, known to fit the flags.
#[derive(Default)]
struct SettingsFile {
    path: PathBuf,
    settings: Table,
}

impl SettingsFile {
    fn read(path: PathBuf, command: &Command) -> Result<Self, String> {
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        // The line itself is not shown: it may hold a password.
        let settings: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
            format!("{}, line {line}: not valid TOML", path.display())
        })?;
        for (key, value) in &settings {
            fits(key, value, command).map_err(|problem| format!("{}: `{key}` {problem}", path.display()))?;
        }
        Ok(Self { path, settings })
    }

    /// Gives every flag of `command` and of its subcommands its environment variable and its value in the file.
    fn complete(&self, command: Command) -> Command {
        command.mut_args(|arg| self.complete_flag(arg)).mut_subcommands(|command| self.complete(command))
    }

    fn complete_flag(&self, mut arg: Arg) -> Arg {
        let Some(flag) = arg.get_long().map(str::to_owned) else {
            return arg;
        };
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            arg = arg.value_parser(BoolishValueParser::new());
        }
        arg = arg.env(variable(&flag)).hide_env_values(true);
        match self.settings.get(&key(&flag)) {
            None => arg,
            Some(value) => {
                let hide = arg.get_action().takes_values();
                arg.default_values(texts(value)).required(false).hide_default_value(hide)
            }
        }
    }

    /// Says of a refused value which layer it comes from, if that is not the command line.
    fn explain(&self, mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
        let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
            return error;
        };
        let Some(flag) = shown.strip_prefix("--").and_then(|flag| flag.split([' ', '=']).next()).map(str::to_owned) else {
            return error;
        };
        let origin = if arguments.iter().any(|argument| is_flag(argument, &flag)) {
            return error;
        } else if env::var_os(variable(&flag)).is_some() {
            format!("the value comes from the environment, {}", variable(&flag))
        } else if self.settings.contains_key(&key(&flag)) {
            format!("the value comes from `{}` in {}", key(&flag), self.path.display())
        } else {
            return error;
        };
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(origin)]));
        error
    }
}

fn is_flag(argument: &OsStr, flag: &str) -> bool {
    let name = argument.to_str().and_then(|argument| argument.strip_prefix("--")).map(|argument| argument.split('=').next());
    name == Some(Some(flag))
}

/// Whether a setting belongs to some flag, and its value has the shape that the flag needs.
fn fits(setting: &str, value: &Value, command: &Command) -> Result<(), &'static str> {
    let mut known = false;
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        for arg in command.get_arguments().filter(|arg| arg.get_long().is_some_and(|flag| flag != FILE_FLAG && key(flag) == setting)) {
            known = true;
            match (arg.get_action(), value) {
                (ArgAction::Append, Value::Array(values)) if values.iter().any(Value::is_array) => return Err("must not nest arrays"),
                (ArgAction::Append, _) | (ArgAction::SetTrue, Value::Boolean(_)) => {}
                (ArgAction::SetTrue, _) => return Err("must be true or false"),
                (_, Value::Array(_) | Value::Table(_)) => return Err("takes one value, not several"),
                _ => {}
            }
        }
    }
    if known { Ok(()) } else { Err("is no setting; see --help of the commands for their flags, and write `_` for `-`") }
}

/// A value as flags would give it: text as it is, tables inline.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Subcommand;
    use tempfile::NamedTempFile;

    use super::*;

    #[derive(Parser, Debug)]
    struct Example {
        #[arg(long, global = true)]
        config: Option<PathBuf>,
        #[command(subcommand)]
        command: ExampleCommand,
    }

    #[derive(Subcommand, Debug)]
    enum ExampleCommand {
        First {
            #[arg(long, default_value = "1")]
            example_number: u32,
            #[arg(long)]
            example_switch: bool,
            #[arg(long)]
            example_table: Vec<String>,
            #[arg(long)]
            example_needed: String,
        },
        Second {
            #[arg(long)]
            example_other: Option<u32>,
        },
    }

    fn file(text: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn run(file: &NamedTempFile, arguments: &str) -> Result<ExampleCommand, String> {
        let config = format!("--config={}", file.path().display());
        let arguments = ["example"].into_iter().chain(arguments.split_whitespace()).chain([config.as_str()]).map(OsString::from);
        parse::<Example>(arguments).map(|example| example.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_gives_what_flags_do_not() {
        let file = file(
            "example_number = 2\nexample_switch = true\nexample_needed = 'yes'\nexample_other = 3\n\
             [[example_table]]\na = 'x'\n[[example_table]]\na = 'y'\n",
        );
        let ExampleCommand::First { example_number, example_switch, example_table, example_needed } = run(&file, "first").unwrap() else {
            panic!("another command")
        };
        assert_eq!((example_number, example_switch, example_needed.as_str()), (2, true, "yes"));
        let tables: Vec<Table> = example_table.iter().map(|text| format!("t = {text}").parse().unwrap()).collect();
        assert_eq!(tables.iter().map(|table| table["t"]["a"].as_str().unwrap()).collect::<Vec<_>>(), ["x", "y"]);

        let ExampleCommand::First { example_number, example_table, .. } = run(&file, "first --example-number 9 --example-table z").unwrap()
        else {
            panic!("another command")
        };
        assert_eq!((example_number, example_table), (9, vec!["z".to_owned()]));
        assert!(matches!(run(&file, "second").unwrap(), ExampleCommand::Second { example_other: Some(3) }));
    }

    #[test]
    fn a_setting_nobody_knows_is_an_error_that_names_it_and_the_file() {
        for (text, key) in
            [("colour = 'hunter2'", "`colour`"), ("config = 'hunter2'", "`config`"), ("[first]\nexample_number = 2", "`first`")]
        {
            let file = file(text);
            let error = run(&file, "second").unwrap_err();
            assert!(error.contains(key) && error.contains(file.path().to_str().unwrap()) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_setting_of_another_shape_is_an_error() {
        for text in ["example_switch = 'yes'", "example_number = [1, 2]", "example_number = {a = 1}", "example_table = [['hunter2']]"] {
            let error = run(&file(text), "second").unwrap_err();
            assert!(error.contains(text.split(' ').next().unwrap()) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_named_with_the_line_but_not_quoted() {
        let error = run(&file("example_number = 2\nexample_needed = 'hunter2"), "second").unwrap_err();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_value_that_is_refused_is_traced_to_the_file() {
        let file = file("example_number = -1\nexample_needed = ''");
        let error = run(&file, "first").unwrap_err();
        assert!(error.contains("`example_number` in ") && error.contains(file.path().to_str().unwrap()), "{error}");
        let error = run(&file, "first --example-number=-2").unwrap_err();
        assert!(!error.contains("example_number` in"), "{error}");
    }

    #[test]
    fn the_file_is_found_in_the_arguments_before_they_are_parsed() {
        let named = |arguments: &[&str]| file_named_in(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(named(&["userdata", "serve", "--config", "a"]), Some("a".into()));
        assert_eq!(named(&["userdata", "--config=b", "serve"]), Some("b".into()));
        assert_eq!(named(&["userdata", "serve", "--", "--config", "a"]), None);
        assert_eq!(named(&["userdata", "serve", "--configuration=a"]), None);
    }
}
