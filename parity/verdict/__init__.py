"""The verdict's engine: traces of two computations, the noise floor, and the distance between them in its unit.

It works on arrays and knows neither a network nor a framework. `check` and `bench` stand on it.
"""
