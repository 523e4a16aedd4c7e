"""The subcommands of `bnparity`: each a dataclass, whose fields are its options, with a method `run`."""
