"""The inputs of training, before any framework sees them: data, index stream, initial weights."""

from parity.backend import Backend, Inputs
from parity.data import Dataset, IndexStream, standardize
from parity.spec import ModelSpec, TrainSpec
from parity.weights import cast_weights, draw_weights


def prepare_inputs(backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
    """Return the experiment's inputs: standardized data, the first pass of the index stream, the initial weights.

    Args:
        backend: the backend that presents them; honest inputs are the same for all.
        dataset: raw images.
        spec: the network.
        training: gives the seed and the batch size.
    """
    data = standardize(dataset)
    stream = IndexStream(len(data.train_labels), training.batch_size, training.seed)
    return Inputs(
        train_inputs=data.train_inputs.copy(),
        train_labels=data.train_labels.copy(),
        test_inputs=data.test_inputs.copy(),
        test_labels=data.test_labels.copy(),
        batches=stream.next_pass(),
        weights=cast_weights(draw_weights(spec, training.seed), "float32"),
    )
