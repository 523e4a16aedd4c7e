"""Do two implementations compute the same? The questions, the noise floor, the diagnosis, the report."""
