"""What a comparison concludes."""

from enum import StrEnum

UNEXPLAINED = "unexplained"


class Verdict(StrEnum):
    """Do the two compute the same?"""

    AGREE = "agree"
    DISAGREE = "disagree"
    INCOMPLETE = "incomplete"  # nothing differs, but something that was asked could not be compared
