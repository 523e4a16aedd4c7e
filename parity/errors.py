"""The one error that a user's input can cause."""


class InputError(ValueError):
    """Bad input, or something that could not start because of it.

    The message is one line that names the value, the rule and the remedy. The command line prints it and
    exits with status 2.
    """
