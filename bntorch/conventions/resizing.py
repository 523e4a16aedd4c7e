"""Conventions of resizing."""

from collections.abc import Iterator

from bntorch.conventions.calls import Called, Way, convention


@convention("resize_kernel", "interpolate")
def _resize(call: Called) -> Iterator[Way]:
    own = call.get("mode", "nearest")
    for other in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        if other != own and call["input"].ndim == 4:
            changed = {"align_corners": None, "antialias": False} if "nearest" in other else {}
            yield Way(
                other, own, f"it is resized by {other}", lambda m=other, c=changed: call.again(mode=m, **c),
                jax=f"resize by {own}", torch=f"set mode='{own}'", torch_other=f"set mode='{other}'",
            )  # fmt: skip


@convention("resize_kernel", "interpolate")
def _cubic(call: Called) -> Iterator[Way]:
    """PyTorch has another cubic kernel with antialiasing (Keys, 1981), which else does nothing to a larger image."""
    if call.get("mode", "nearest") == "bicubic" and not _is_smaller(call):
        own = bool(call["antialias"])
        ours, theirs = (-0.5, -0.75)[:: 1 if own else -1]
        yield Way(
            f"a {theirs}", f"{ours}", f"the cubic kernel has a = {theirs}", lambda: call.again(antialias=not own),
            jax="use jax.image.resize" if own else "resize by weights of the kernel with a = -0.75, written by hand",
            torch=f"set antialias={own}", torch_other=f"set antialias={not own}",
        )  # fmt: skip


def _is_smaller(call: Called) -> bool:
    """Whether an image is made smaller."""
    x = call["input"]
    return any(new < old for new, old in zip(call.again().shape[2:], x.shape[2:], strict=True))


@convention("resize_antialias", "interpolate")
def _antialias(call: Called) -> Iterator[Way]:
    own = bool(call["antialias"])
    if call.get("mode", "nearest") in ("bilinear", "bicubic") and _is_smaller(call):
        yield Way(
            f"{not own}", f"{own}", f"antialias is {not own}", lambda: call.again(antialias=not own),
            jax=f"set antialias={own}", torch=f"set antialias={own}", torch_other=f"set antialias={not own}",
        )  # fmt: skip


@convention("align_corners", "interpolate")
def _corners(call: Called) -> Iterator[Way]:
    own = bool(call["align_corners"])
    if call.get("mode", "nearest") in ("linear", "bilinear", "bicubic", "trilinear"):
        yield Way(
            f"{not own}", f"{own}", f"align_corners is {not own}", lambda: call.again(align_corners=not own),
            jax="map the corners of pixels to corners" if not own else "map the centers of the corner pixels",
            torch=f"set align_corners={own}", torch_other=f"set align_corners={not own}",
        )  # fmt: skip
