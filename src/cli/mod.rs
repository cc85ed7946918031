//! The command line: arguments, calls, printing. One file a command.
