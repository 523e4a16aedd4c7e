"""Independent ports of the experiment, honest and faulty, as people write them: what `bnparity check` is tried on.

They share no code with the siblings nor with the NumPy reference. An honest port is a factory in a module of its own
(`ports.stock_torch:make_backend`); a faulty one is a subclass with a few lines changed, listed by `ports.collection`.
"""
