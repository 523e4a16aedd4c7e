"""What a framework must offer, and how one is found.

NumPy goes in and NumPy comes out. Everything is copied both ways: a backend neither writes to nor reads an array again
after it was given or returned.
"""

from parity.backend.base import Backend, BackendAdapter, Inputs, MakesLearners, as_backend
from parity.backend.learner import Learner, Step, as_learner
from parity.backend.lesson import Lesson, Listing, run_listing
from parity.backend.load import backend_names, installed_siblings, load_backend, sibling_names
from parity.backend.modes import Mode, Modes
from parity.backend.population import Evaluation, PassRecord, Population, lane_batches, lane_masks, member_states
from parity.backend.tools import Convolved, NormLayer, Objective, Tools

__all__ = [
    "Backend",
    "BackendAdapter",
    "Convolved",
    "Evaluation",
    "Inputs",
    "Learner",
    "Lesson",
    "Listing",
    "MakesLearners",
    "Mode",
    "Modes",
    "NormLayer",
    "Objective",
    "PassRecord",
    "Population",
    "Step",
    "Tools",
    "as_backend",
    "as_learner",
    "backend_names",
    "installed_siblings",
    "lane_batches",
    "lane_masks",
    "load_backend",
    "member_states",
    "run_listing",
    "sibling_names",
]
