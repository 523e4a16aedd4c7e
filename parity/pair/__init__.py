"""Any pair of models: what a user declares, the weight map, the layouts and the questions.

It knows no framework: models come as ports (`parity.backend.port`).
"""
