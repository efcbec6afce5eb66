"""The command line: verbs that ask the running node through its control socket."""
