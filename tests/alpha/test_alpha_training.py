"""Training of the network: killed and taken up again, exploding, warm, in half precision, across pairs, with more heads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from hydra_core.alpha.forecaster.windows import WindowShape
from hydra_core.domain.errors import InputMissing

SHAPE = WindowShape(steps=8, stride=1)
TRAIN, VALID = np.arange(20, 1_500), np.arange(1_520, 1_900)


def world(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2_000, 3, 4)).astype(np.float32)
    features[700:720, 1] = np.nan
    product = np.nan_to_num(features[:, :, 0] * features[:, :, 1]).astype(float)
    return features, 0.5 * product + rng.normal(size=product.shape)


def trained(checkpoint: Path | None = None, **more):
    from hydra_core.alpha.forecaster.network import NetworkHyper
    from hydra_core.alpha.forecaster.train import train_forecaster

    features, labels = world()
    hyper = more.pop("hyper", NetworkHyper(width=16, layers=1, patch=4, epochs=3, batch_rows=64))
    given = {"labels": more.pop("labels", labels), "features": more.pop("features", features)}
    return train_forecaster(
        given["features"], given["labels"], TRAIN, VALID, hyper, seed=5, shape=SHAPE, checkpoint=checkpoint, **more
    )


def hyper(**changed):
    from hydra_core.alpha.forecaster.network import NetworkHyper

    return NetworkHyper(**{"width": 16, "layers": 1, "patch": 4, "epochs": 3, "batch_rows": 64, **changed})


KILLED = """
import sys, test_alpha_training as t
from pathlib import Path
from hydra_core.alpha.forecaster import checkpoints, train
train.CHECKPOINT_STEPS = 10
keep, kept = checkpoints.keep, []
def told(file, key, state):
    keep(file, key, state)
    kept.append(state)
    if len(kept) == 4:
        print("half way through the second epoch", state["epoch"], state["step"], flush=True)
        sys.stdin.read()
checkpoints.keep = told
t.trained(Path(sys.argv[1]))
"""


def test_a_training_killed_in_mid_epoch_goes_on_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    file = tmp_path / "training.pt"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert child.stdout is not None
    said = child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert said.split()[-2:] == ["2", "10"], said
    assert file.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["training.pt"]
    told: list[int] = []
    resumed = trained(file, progress=lambda epoch, epochs, loss: told.append(epoch))
    whole = trained()
    assert told == [2, 3]
    assert resumed.losses == whole.losses
    for name, value in whole.state().items():
        assert_array_equal(resumed.state()[name], value, err_msg=name)
    assert not file.exists()


def test_a_checkpoint_of_another_training_or_a_broken_one_is_not_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "training.pt"
    stopped = pytest.raises(KeyboardInterrupt)

    def stop(epoch: int, epochs: int, loss: float) -> None:
        raise KeyboardInterrupt

    with stopped:
        trained(file, progress=stop, hyper=hyper(learning_rate=1e-4))
    told: list[int] = []
    trained(file, progress=lambda epoch, *_: told.append(epoch))
    assert told == [1, 2, 3]
    file.write_bytes(b"not a checkpoint")
    assert trained(file).losses == trained().losses


def test_an_exploding_loss_ends_with_what_was_best_before_and_says_so() -> None:
    features, labels = world()
    explode = hyper(learning_rate=1e30, epochs=3)
    made = trained(hyper=explode)
    assert made.diverged >= 1
    assert np.isfinite(made.losses).all()
    assert np.isfinite(made.predict(features, VALID)[~np.isnan(features[VALID]).any(axis=2)]).all()
    with pytest.raises(InputMissing, match="usable training values"):
        trained(labels=np.full_like(labels, np.nan))
    with pytest.raises(InputMissing, match="usable training values"):
        trained(features=np.full_like(features, np.nan))


def test_a_warm_start_begins_where_the_network_before_ended() -> None:
    from hydra_core.alpha.forecaster.train import warmed

    whole = trained()
    assert whole.kept_epoch > 0
    again = trained(hyper=warmed(hyper()), start=whole.state())
    assert again.losses[0] == pytest.approx(min(whole.losses), rel=2e-3)
    assert again.hyper.learning_rate == pytest.approx(hyper().learning_rate / 5)
    assert again.losses[0] < whole.losses[0]


@pytest.mark.long
def test_half_precision_learns_the_same_and_seeds_repeat() -> None:
    from hydra_core.alpha.forecaster.batches import Runtime

    features, _labels = world()
    whole, half = trained(), trained(runtime=Runtime(bf16=True))
    one, two = (each.predict(features, VALID) for each in (whole, half))
    known = np.isfinite(one)
    assert np.corrcoef(one[known], two[known])[0, 1] > 0.95
    assert_array_equal(one, trained().predict(features, VALID))
    assert Runtime.best().device in {"cpu", "cuda"}


@pytest.mark.long
def test_attention_between_pairs_reads_the_others_and_not_the_absent() -> None:
    """The label of each pair is the first feature of another: one pair alone cannot know it."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(2_000, 3, 4)).astype(np.float32)
    others = features[:, :, 0].sum(axis=1, keepdims=True) - features[:, :, 0]
    labels = 0.6 * others + rng.normal(size=others.shape)
    wide = hyper(cross_layers=1, epochs=6, learning_rate=5e-3)
    together = trained(features=features, labels=labels, hyper=wide)
    alone = trained(features=features, labels=labels, hyper=replace(wide, cross_layers=0))
    assert min(together.losses) < min(alone.losses) - 0.03
    gone = features.copy()
    gone[VALID[0] - 10 :, 2] = np.nan
    said, silent = together.predict(gone, VALID[:50]), together.predict(features, VALID[:50])
    assert np.isnan(said[:, 2]).all()
    assert np.isfinite(said[:, :2]).all()
    assert (said[:, :2] != silent[:, :2]).any()
    other = gone.copy()
    other[:, 2] = np.where(np.isnan(gone[:, 2]), np.nan, 7.0)
    assert_array_equal(together.predict(other, VALID[40:50])[:, :2], together.predict(gone, VALID[40:50])[:, :2])


def test_further_heads_learn_volatility_and_quantiles_that_do_not_cross() -> None:
    import torch

    from hydra_core.alpha.forecaster.heads import HEAD_FIELDS, QUANTILES

    rng = np.random.default_rng(4)
    features = rng.normal(size=(2_000, 3, 4)).astype(np.float32)
    spread = np.exp(0.7 * features[:, :, 2]).astype(float)
    labels = spread * rng.normal(size=spread.shape)
    more = np.stack([labels, np.where(rng.random(labels.shape) < 0.1, np.nan, labels)], axis=2)
    made = trained(
        features=features, labels=labels, more_labels=more, hyper=hyper(epochs=8, learning_rate=1e-2, weight_decay=0.0)
    )  # fmt: skip
    network = made.network.eval()
    with torch.inference_mode():
        said = network.heads(torch.from_numpy(SHAPE.gather(features, VALID)))[2].numpy()
    assert said.shape == (VALID.size, 3, 2, len(HEAD_FIELDS))
    levels = said[..., 3:]
    assert (np.diff(levels, axis=-1) >= 0).all()
    if made.kept_epoch:
        assert np.corrcoef(said[:, :, 0, 2].ravel(), features[VALID][:, :, 2].ravel())[0, 1] > 0.5
        inside = (labels[VALID] <= levels[:, :, 0, QUANTILES.index(0.9)]).mean()
        assert inside == pytest.approx(0.9, abs=0.08)
