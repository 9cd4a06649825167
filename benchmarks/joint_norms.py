"""Joint training of networks with batch norms beside quantizing them afterwards, on digits.

    python benchmarks/joint_norms.py [--networks NAME ...] [--starts SHARE ...] [--epochs N]
    [--seeds N]

Each network is a student of the same teacher, in int8 with learned steps, quantized from a share
of its training on (`quantize.start`). Prints the mean test accuracy of `kd+ptq` and of `joint`, the
seeds' accuracies, and by how much joint training is worse or better; the decisions that differ in
the exported graph. Three seeds of nine such runs take a quarter of an hour on two quiet cores.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import limbeck

NETWORKS = {
    "small_cnn": "{model: small_cnn, width: 12, depth: 1}",
    "resnet18": "{model: resnet18, width: 8}",
    "mobilenet_v2": "{model: mobilenet_v2}",
}

RECIPE = """
task: image-classification
data: {{source: sklearn, dataset: digits}}
teacher: {{model: small_cnn, width: 32, depth: 2, epochs: 8}}
student: {student}
train: {{epochs: {epochs}, learning_rate: 4.0e-3, batch_rows: 64, threads: 1, device: cpu}}
distill: {{losses: {{kl: {{temperature: 4.0}}}}}}
quantize:
  {{when: train, weights: int8, activations: uint8, range: lsq, error_weight: 1.0e-4, start: {start}}}
verdict: {{arms: [kd, kd+ptq, joint], seeds: {seeds}, min_speedup: 0, latency_rows: 10}}
export: [onnx]
"""


def accuracies(report: dict[str, Any], arm: str) -> list[float]:
    """Of each seed of an arm."""
    return [seed["metrics"]["accuracy"] for seed in report["arms"][arm]["seeds"]]


def main() -> None:
    """Run every network at every start, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--starts", nargs="+", type=float, default=[0.0, 0.2, 0.5])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    for network in asked.networks:
        for start in asked.starts:
            text = RECIPE.format(
                student=NETWORKS[network], epochs=asked.epochs, start=start, seeds=asked.seeds
            )
            with tempfile.TemporaryDirectory() as folder:
                report = limbeck.run(limbeck.parse(text), Path(folder) / "run")
            after = accuracies(report, "kd+ptq")
            joint = accuracies(report, "joint")
            means = [sum(values) / len(values) for values in (after, joint)]
            flips = sum(row["flips"] for row in report["parity"])
            each = " ".join(f"{value:.4f}" for value in joint)
            print(
                f"{network} start {start}: kd+ptq {means[0]:.4f}, joint {means[1]:.4f} ({each}), "
                f"{means[1] - means[0]:+.4f}; {flips} decisions differ",
                flush=True,
            )


if __name__ == "__main__":
    main()
