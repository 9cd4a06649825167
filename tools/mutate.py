"""Does some test fail for each small mistake? `python tools/mutate.py [--jobs 2] [WORD ...]`

Each mutation changes one operator, bound or argument of a file, in a copy of src and tests; the
tests that are named beside it must then fail. Prints a line for each and ends with the count;
exit status 1 where one survives. WORD: only those whose file or reason holds it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LOOP = "tests/oracles/test_loop.py"
LOSSES = "tests/oracles/test_output_losses.py tests/oracles/test_loss_values.py"
FUSED = "tests/oracles/test_fused.py"
CONTRACTS = "tests/contracts/test_losses.py"
RANGES = "tests/oracles/test_range_values.py tests/contracts/test_ranges.py"
BATCHES = "tests/test_splits.py tests/oracles/test_loop.py"
TASKS = "tests/contracts/test_tasks.py"
VERDICT = "tests/oracles/test_verdict.py"
INTERVALS = "tests/oracles/test_score_interval.py"
DECISIONS = "tests/oracles/test_decisions.py"
TABLES = "tests/oracles/test_drift_tables.py"
DRIFT = "tests/test_drift.py"
EXPORT = "tests/contracts/test_exporters.py"
KEYS = "tests/test_stage_keys.py"
PROTOCOL = "tests/server/test_open_inference.py tests/server/test_open_inference_clients.py"
SERVED = "tests/server/test_open_inference_models.py"
HOSTS = "tests/server/test_hosts.py"
METERS = "tests/server/test_meters.py"
SHELF = "tests/server/test_plans.py"
SITE = "tests/server/test_site.py"
GENERATION = "tests/test_generation.py"
DECODER = "tests/oracles/test_decoder_graph.py"
TEMPLATES = "tests/test_chat_template.py"
TEXTS = "tests/oracles/test_generated_texts.py"
WRITTEN = "tests/oracles/test_written_answers.py"
GROUPS = "tests/oracles/test_group_codes.py"
PACKED = "tests/oracles/test_packed_logits.py"
GGUF = "tests/oracles/test_gguf.py"
EVERY_STEP = "tests/oracles/test_range_every_step.py"


class Mutation(NamedTuple):
    """`before` stands once in the file below src/limbeck, and becomes `after`."""

    what: str
    file: str
    before: str
    after: str
    tests: str


MUTATIONS = [
    # Losses.
    Mutation("kl without T^2", "losses/kl.py", "temperature**2 * nats", "temperature * nats", LOSSES),
    Mutation("kl turned round", "losses/kl.py", "divergence(log_p, log_q)", "divergence(log_q, log_p)", LOSSES),
    Mutation("kl on the student's mask", "losses/__init__.py", "teacher_mask if loss.reads", "student_mask if loss.reads", CONTRACTS),
    Mutation("reverse kl turned round", "losses/reverse_kl.py", "divergence(log_q, log_p)", "divergence(log_p, log_q)", LOSSES),
    Mutation("mixture swapped", "losses/jensen_shannon.py", "math.log(beta)", "math.log1p(-beta)", LOSSES),
    Mutation("ends of beta swapped", "losses/jensen_shannon.py", "if beta == 0:", "if beta == 1:", LOSSES),
    Mutation("sum for mean over labels", "losses/logit_mse.py", ".square().mean(-1)", ".square().sum(-1)", LOSSES),
    Mutation("teacher not detached", "losses/__init__.py", "wide(teacher.logits.detach())", "wide(teacher.logits)", CONTRACTS),
    Mutation("unknown labels count", "losses/__init__.py", "else labels >= 0)", "else student_mask)", CONTRACTS),
    Mutation("mean over all units", "losses/__init__.py", "total / mask.sum().clamp_min(1)", "total / mask.numel()", CONTRACTS),
    Mutation("others not weighted", "losses/dkd.py", "self.beta * of_others", "of_others", LOSSES),
    Mutation("a step not divided", "losses/__init__.py", "student_logits / temperature", "student_logits", LOSSES),
    Mutation("weight 0 computed", "distillation/objective.py", "total + weight * factor * part", "total + factor * part", "tests/oracles/test_objective.py"),
    Mutation("gradients given away twice", "distillation/fused.py", "ctx.gradients = ctx.gradients, None", "ctx.gradients = ctx.gradients, ctx.gradients", FUSED),
    Mutation("a chunk's gradient alone", "distillation/fused.py", "self.weight.addmm_(gradient.T, x)", "torch.mm(gradient.T, x, out=self.weight)", FUSED),
    Mutation("a mean of each chunk", "distillation/fused.py", "return sums / numbers, gradients", "return sums, gradients", FUSED),
    Mutation("bounded logits taken for the projection's", "models/running.py", "logits_of(call(model, first)) is waiting.stand_in", "logits_of(call(model, first)) is not None", FUSED),
    # Ranges and codes.
    Mutation("lowest end ignored", "quantization/affine.py", "torch.maximum(low / grid.low, high / grid.high)", "high / grid.high", RANGES),
    Mutation("zero not in the interval", "quantization/affine.py", "low.clamp_max(0)", "low", RANGES),
    Mutation("one step too many", "quantization/affine.py", "num_steps = grid.high - grid.low", "num_steps = grid.high - grid.low + 1", RANGES),
    Mutation("the worst kept", "quantization/ranges/mse.py", "error < best_error", "error > best_error", RANGES),
    Mutation("the other end cut", "quantization/ranges/percentile.py", "count - 1 - cut", "count - 1", RANGES),
    Mutation("the largest for the mean", "quantization/ranges/moving_average.py", "ordered.mean(0)", "ordered[-1]", RANGES),
    Mutation("n not counted", "quantization/modules/fake.py", "1 / math.sqrt(count * grid.high)", "1.0", "tests/oracles/test_learned_ranges.py"),
    Mutation("gradient outside the grid", "quantization/modules/fake.py", "to_x = passed(gradient, levels, ctx.grid)", "to_x = gradient", "tests/oracles/test_affine.py tests/oracles/test_learned_ranges.py"),
    # Text, and how it is written.
    Mutation("the mass of all for that of the others", "distillation/packed_logits.py", "without = logits.scatter(-1, labels, -torch.inf)", "without = logits", PACKED),
    Mutation("codes of one sign", "distillation/packed_logits.py", "np.where(signed < 0, -2 * signed - 1, 2 * signed)", "np.where(signed < 0, -2 * signed, 2 * signed)", PACKED),
    Mutation("a step without its width", "distillation/packed_logits.py", "math.sqrt(12 / len(spread))", "math.sqrt(12)", PACKED),
    Mutation("a tied table twice", "quantization/group_codes.py", "if holder in holders:", "if False:", GROUPS),
    Mutation("outputs for inputs", "quantization/group_codes.py", "codes = codes.t()", "pass", GROUPS),
    Mutation("scales of the last step", "quantization/progressive.py", "elif step > first:", "elif False:", EVERY_STEP),
    Mutation("signs of the first step", "quantization/modules/fake.py", "self.sign.copy_(signs(values, self.grid))\n            values = values * self.sign.unsqueeze(1)\n        low", "values = values * self.sign.unsqueeze(1)\n        low", EVERY_STEP),
    Mutation("afterwards by a range that trains along", "pipeline/arms.py", "range_class.learned or range_class.each_step", "range_class.learned", EVERY_STEP),
    Mutation("longer than the model reads", "artifact/generation/answering.py", "most = min(room, asked.max_tokens or room)", "most = asked.max_tokens or room", GENERATION),
    Mutation("what was held back is lost", "artifact/generation/answering.py", 'yield Piece(stop.add(stream.finish()) + stop.finish(), token, "stop")', 'yield Piece("", token, "stop")', GENERATION),
    Mutation("a penalty that rewards", "artifact/generation/sampling.py", "of_known / penalty, of_known * penalty", "of_known * penalty, of_known / penalty", GENERATION),
    Mutation("one token more than top-k", "artifact/generation/sampling.py", "np.partition(scores, -sampling.top_k)[-sampling.top_k]", "np.partition(scores, -sampling.top_k - 1)[-sampling.top_k - 1]", GENERATION),
    Mutation("half a character shown", "artifact/generation/text_stream.py", "if text.endswith(REPLACEMENT):", "if False:", GENERATION),
    Mutation("an id from the end", "artifact/generation/__init__.py", "ids.min() < 0 or ids.max() >= vocabulary", "ids.max() >= vocabulary", DECODER),
    Mutation("a token beyond the cache", "artifact/generation/__init__.py", "if length + num_ids > capacity or", "if length + num_ids > capacity + 1 or", DECODER),
    Mutation("a file's type by its other half", "artifact/gguf/writing.py", "FILE_TYPES = {4: 2, 8: 7}", "FILE_TYPES = {4: 7, 8: 2}", GGUF),
    Mutation("rows not permuted", "artifact/gguf/writing.py", "rows = decoders.permuted_rows(name, blocks.pack(weight), sizes)", "rows = blocks.pack(weight)", GGUF),
    Mutation("an answer without its end", "tasks/chat/template.py", "end = len(through)", "end = len(through) - 1", TEMPLATES),
    Mutation("the first answer for all", "tasks/chat/template.py", "start = spans[-1][1]", "start = 0", TEMPLATES),
    Mutation("blanks learned", "tasks/chat/template.py", "bare_end if bare_end > after_content else end", "end", TEMPLATES),
    Mutation("F without its 2", "evaluation/generated/texts.py", "2 * common / total", "common / total", TEXTS),
    Mutation("n-grams across answers", "evaluation/generated/texts.py", "for i in range(len(words) - length + 1)]", "for i in range(len(words) - length)]", TEXTS),
    Mutation("repeated n-grams are new", "evaluation/generated/texts.py", "found.append(1 - share_new)", "found.append(share_new)", TEXTS),
    Mutation("all alike is certain", "evaluation/generated/figures.py", "fall=mean,", "fall=0.0,", WRITTEN),
    Mutation("a longer answer is the same", "evaluation/generated/figures.py", "return None if len(answer) == len(other) else shorter", "return None", WRITTEN),
    Mutation("always the last answer", "tasks/inputs/questions.py", "answers[number % len(answers)]", "answers[-1]", WRITTEN),
    Mutation("one question many times", "tasks/inputs/questions.py", "or ids in known", "", WRITTEN),
    Mutation("half an answer taken up", "pipeline/judging/written.py", 'if line.endswith("\\n"):', "if True:", WRITTEN),
    Mutation("a length is an end", "artifact/generation/greedy.py", 'ended = piece.finish == "stop"', "ended = piece.finish is not None", WRITTEN),
    # The loop.
    Mutation("warm-up twice as long", "training/loop.py", "(progress + 1e-3) / warmup", "(progress + 1e-3) / (2 * warmup)", LOOP),
    Mutation("the rate does not fall to 0", "training/loop.py", "falling = (1 - progress) /", "falling = (1.1 - progress) /", LOOP),
    Mutation("vectors decay", "training/loop.py", '{"params": vectors, "weight_decay": 0.0}', '{"params": vectors, "weight_decay": weight_decay}', LOOP),
    Mutation("nothing decays", "training/loop.py", '{"params": matrices, "weight_decay": weight_decay}', '{"params": matrices, "weight_decay": 0.0}', LOOP),
    Mutation("clipping at twice the bound", "training/loop.py", "self.parameters, job.settings.gradient_clip", "self.parameters, 2 * job.settings.gradient_clip", LOOP),
    Mutation("schedules end a step early", "training/loop.py", "progress = step / total\n        #", "progress = (step + 1) / total\n        #", LOOP),
    Mutation("dropout alike in every step", "training/loop.py", "job.settings.seed * SEED_STRIDE + step", "job.settings.seed * SEED_STRIDE", LOOP),
    # The order of rows, splits.
    Mutation("rows not shuffled", "data/batches.py", "order = generator.permutation(len(sizes))", "order = np.arange(len(sizes))", BATCHES),
    Mutation("every epoch alike", "data/batches.py", "default_rng([seed, epoch])", "default_rng([seed, 0])", BATCHES),
    Mutation("batches over the budget", "data/batches.py", "(len(batch) + 1) > budget", "len(batch) > budget", BATCHES),
    Mutation("a drawn split not shuffled", "data/sampling.py", "generator.permutation(members).tolist()", "list(members)", BATCHES),
    Mutation("calibration rows are test's", "pipeline/steps/quantizing.py", 'encoded = run.encode("train", task)', 'encoded = run.encode("test", task)', "tests/oracles/test_keys.py"),
    # Keys.
    Mutation("preprocessing not in a label's key", "pipeline/steps/teacher_outputs.py", '"preprocess": digest(guide.task.preprocess),', "", "tests/oracles/test_keys.py"),
    Mutation("components not in the key", "pipeline/stage.py", "code_digest([function.__module__], named)", "code_digest([function.__module__])", KEYS),
    Mutation("a loss from Python not in the key", "pipeline/stage.py", "        if own:", "        if False:", "tests/invariants/test_own_losses.py"),
    Mutation("imports not followed", "pipeline/code/code_digest.py", "waiting += imports_of(module)", "pass", KEYS),
    # Metrics and the verdict.
    Mutation("precision and recall swapped", "tasks/metrics.py", "precision = defined(hits, predicted)\n    recall = defined(hits, true)", "precision = defined(hits, true)\n    recall = defined(hits, predicted)", TASKS),
    Mutation("F1 without its 2", "tasks/metrics.py", "defined(2 * hits, predicted + true)", "defined(hits, predicted + true)", TASKS),
    Mutation("confusion turned", "tasks/metrics.py", "labels[known] * num_labels + decisions[known]", "decisions[known] * num_labels + labels[known]", TASKS),
    Mutation("an entity one word short", "tasks/metrics.py", "found.append((kind, start, index))", "found.append((kind, start, index - 1))", TASKS),
    Mutation("ties won", "tasks/metrics.py", "negatives.cumsum(1) - negatives / 2", "negatives.cumsum(1)", TASKS),
    Mutation("a drop is a rise", "evaluation/verdict.py", 'difference(self.answers["teacher"], self.answers[self.judged])', 'difference(self.answers[self.judged], self.answers["teacher"])', VERDICT),
    Mutation("any speed will do", "evaluation/verdict.py", "if low >= asked:", "if low >= 0:", "tests/test_speed.py"),
    Mutation("chance is good enough", "evaluation/verdict.py", "difference(first, second).p_at_most(0) <= ALPHA", "difference(first, second).p_at_most(0) <= 1", VERDICT),
    Mutation("a one-sided interval", "evaluation/score_interval.py", "outside = (1 - level) / 2", "outside = 1 - level", INTERVALS),
    Mutation("what no row shows cannot be", "evaluation/score_interval.py", "largest = max(self.rise, float(self.rows.max()))", "largest = float(self.rows.max())", INTERVALS),
    Mutation("the variance of what was seen", "evaluation/score_interval.py", "square - mean**2", "float(np.mean(self.rows**2))", INTERVALS),
    Mutation("seeds add nothing", "evaluation/score_interval.py", "math.hypot(of_rows, of_labels, self._rise_by_seeds(above))", "math.hypot(of_rows, of_labels)", INTERVALS),
    Mutation("seldom labels add nothing", "evaluation/score_interval.py", "math.hypot(of_rows, of_labels, self._rise_by_seeds(above))", "math.hypot(of_rows, self._rise_by_seeds(above))", INTERVALS),
    Mutation("blocks in the order of the file", "evaluation/influence.py", "block_of_cluster[order] =", "block_of_cluster[:] =", INTERVALS),
    # What an artifact decides by.
    Mutation("a promise at twice the level", "evaluation/decisions/promise.py", "level = 1 - confidence", "level = 2 * (1 - confidence)", DECISIONS),
    Mutation("what is doubted is answered", "evaluation/decisions/promise.py", "self.confidence >= threshold", "self.confidence <= threshold", DECISIONS),
    Mutation("certainty from a few rows", "evaluation/decisions/fitting.py", "smoothing = 1 / (num_units + 2) if num_labels > 1 else 0.0", "smoothing = 0.0", DECISIONS),
    Mutation("a bias without a reason", "evaluation/decisions/fitting.py", "by_row.mean() > STANDARD_ERRORS * error", "True", DECISIONS),
    Mutation("one rank too low", "evaluation/decisions/conformal.py", "np.sort(of_true)[rows - rank]", "np.sort(of_true)[rows - rank - 1]", DECISIONS),
    Mutation("costs of the answer for those of the truth", "evaluation/decisions/thresholds.py", "probabilities @ costs", "probabilities @ costs.T", DECISIONS),
    Mutation("bins for answers", "evaluation/decisions/reliability.py", "np.abs(gaps).sum() / len(self.p)", "np.abs(gaps).sum() / len(self.starts)", DECISIONS),
    Mutation("abstains where it is sure", "evaluation/decisions/decision.py", "confidence < threshold", "confidence > threshold", "tests/test_decision_file.py"),
    # The Open Inference Protocol.
    Mutation("true is a number", "server/v2/tensors.py", "type(size) is not int or size < 1", "not isinstance(size, int) or size < 1", PROTOCOL),
    Mutation("a dimension of 0", "server/v2/tensors.py", "type(size) is not int or size < 1", "type(size) is not int or size < 0", PROTOCOL),
    Mutation("numbers wrap round", "server/v2/tensors.py", "min(flat) < least or max(flat) > largest", "min(flat) < least", PROTOCOL),
    Mutation("an element beyond its bytes", "server/v2/tensors.py", "if end > size:", "if end > size + 1:", PROTOCOL),
    Mutation("a length between two elements", "server/v2/tensors.py", "if begin <= size else size + 1", "if True else size + 1", PROTOCOL),
    Mutation("bytes after the last element", "server/v2/tensors.py", "if start != size:", "if False:", PROTOCOL),
    Mutation("nested lists of any length", "server/v2/tensors.py", "type(each) is list and len(each) == size", "type(each) is list", PROTOCOL),
    Mutation("bytes after the last tensor", "server/v2/request.py", "if binary is not None and start != len(binary):", "if False:", PROTOCOL),
    Mutation("two inputs of one name", "server/v2/request.py", "if name in inputs:", "if False:", PROTOCOL),
    Mutation("the request's form before the output's", "server/v2/request.py", "outputs.append(RequestedOutput(name, binary, num_classes))", "outputs.append(RequestedOutput(name, is_binary, num_classes))", PROTOCOL),
    Mutation("as many rows as there are", "server/v2/request.py", "if shape[0] > limits.rows:", "if shape[0] > limits.rows + 1:", PROTOCOL),
    Mutation("tensors in another order", "server/v2/response.py", "buffers.append(content)", "buffers.insert(0, content)", PROTOCOL),
    Mutation("special tokens in two halves", "artifact/generation/text_model.py", "if extra:", "if False:", "tests/test_template_writes_specials.py"),
    Mutation("long work in the event loop", "server/engine.py", "if job.is_long or self.step", "if self.step", "tests/server/test_engine.py"),
    Mutation("a JPEG of any number of scans", "sources/_images.py", "if num_scans > MOST_SCANS:", "if False:", "tests/server/test_large_inputs.py"),
    Mutation("a text is a path", "server/requests/base64_text.py", "decoded = base64.b64decode(content, validate=True)", "decoded = content.encode()", SERVED),
    Mutation("any token", "server/v2/rows.py", "ids.min() < 0 or ids.max() >= tokens.num_ids", "ids.min() < 0", SERVED),
    Mutation("as many tokens as there are", "server/v2/rows.py", "if ids.shape[1] > tokens.most:", "if False:", SERVED),
    Mutation("an empty word in the middle", "server/v2/rows.py", "while sentence and not sentence[-1]:", "while '' in sentence:", SERVED),
    Mutation("abstains where it is sure, of tensors", "server/v2/answered.py", "self.offsets) < decision.threshold", "self.offsets) > decision.threshold", SERVED),
    Mutation("the least probable classes", "server/v2/outputs.py", "np.argsort(-values, axis=1", "np.argsort(values, axis=1", SERVED),
    Mutation("raw probabilities", "server/v2/outputs.py", "decision.probabilities(answered.flat)", "decision.probabilities(2 * answered.flat)", SERVED),
    Mutation("a step after the last row", "server/v2/infer.py", "if place + 1 < request.num_rows:", "if place < request.num_rows:", SERVED),
    Mutation("a text of any length", "server/v2/rows.py", "if len(text) > most:", "if len(text) > most + 1:", SERVED),
    Mutation("a page of any name", "server/requests/hosts.py", "if host and not self.is_known(host):", "if False:", HOSTS),
    Mutation("a page without an address", "server/requests/hosts.py", 'if not origin or method in READING:', 'if origin in ("", "null") or method in READING:', HOSTS),
    Mutation("a name that ends as localhost", "server/requests/hosts.py", 'name.endswith(".localhost")', 'name.endswith("localhost")', HOSTS),
    Mutation("an address of a private net", "server/requests/hosts.py", "ip_address(name).is_loopback", "ip_address(name).is_private", HOSTS),
    Mutation("a bucket without its bound", "server/meters.py", "bisect_left(SECONDS, seconds)] += 1", "bisect_left(SECONDS, seconds) + (seconds in SECONDS)] += 1", METERS),
    Mutation("buckets not cumulated", "server/meters.py", "so_far += count", "so_far = count", METERS),
    Mutation("one worker's rows", "server/processes/counts.py", ".reshape(-1, size).sum(0)", ".reshape(-1, size)[0]", METERS),
    Mutation("a version given up just now", "server/plans.py", "path.stat().st_mtime < oldest", "path.stat().st_mtime > oldest", SHELF),
    Mutation("a version given up at once", "server/plans.py", "for version in before - named:", "for version in set():", SHELF),
    Mutation("a version that answers is refused", "server/plans.py", "if version not in self.plan().versions:", "if True:", SHELF),
    Mutation("errors of one version", "server/pages/status.py", 'self.requests[model][labels["status"]] += round(value)', 'self.requests[model][labels["status"]] = round(value)', SITE),
    Mutation("a bucket with those below", "server/pages/status.py", "buckets.append([seconds, round(so_far - before)])", "buckets.append([seconds, round(so_far)])", SITE),
    Mutation("a percentile at its bucket's end", "server/pages/status.py", "(wanted - before) / (so_far - before)", "1", SITE),
    Mutation("a token for open addresses", "server/pages/openapi.py", "needed = needs_token and path not in OPEN", "needed = needs_token", SITE),
    Mutation("an answer of any model", "server/pages/openapi.py", '{"const": model.name}', '{"type": "string"}', SITE),
    Mutation("abstaining not told", "server/pages/openapi.py", "if decision.threshold is not None:", "if False:", SITE),
    Mutation("models told to strangers", "server/pages/site.py", "if authorization or not self.needs_token:", "if True:", SITE),
    Mutation("two texts for a task of one", "server/pages/described.py", 'if predictor.kind != "text" or not predictor.reads_pairs:', "if False:", SITE),
    Mutation("all labels", "server/pages/openapi.py", "if 0 < len(names) <= MOST_NAMED:", "if 0 < len(names):", SITE),
    # Whether requests have changed.
    Mutation("one side of a category looked at for two", "evaluation/drift/tables.py", "np.minimum(bound + math.log(2), 0)", "np.minimum(bound, 0)", TABLES),
    Mutation("one table for the tail", "evaluation/drift/tables.py", "log_p - np.log(rest)", "log_p", TABLES),
    Mutation("a divergence for the index", "evaluation/drift/tables.py", "return (q - p) * np.log(q / p)", "return q * np.log(q / p)", TABLES),
    Mutation("the sum of the window not given", "evaluation/drift/tables.py", "variance - explained", "variance", TABLES),
    Mutation("a look for all looks", "evaluation/drift/watch.py", "math.log(tests * num_looks)", "math.log(tests)", DRIFT),
    Mutation("every look told", "evaluation/drift/watch.py", "for against in told if not was_shifted[against]]", "for against in told]", DRIFT),
    Mutation("one change told twice", "evaluation/drift/watch.py", "for look in begun if since >= look.size]", "for look in begun]", DRIFT),
    Mutation("bins without those below", "evaluation/drift/watch.py", "np.cumsum(counts)[:-1]", "counts[:-1]", DRIFT),
    Mutation("a window of what is newest", "evaluation/drift/watch.py", "if since >= least:", "if since > 0:", DRIFT),
    Mutation("nothing is below validation", "evaluation/drift/reference.py", "round(min(values) - STEP, DIGITS)", "float(min(values))", DRIFT),
    # Export.
    Mutation("flips not counted", "artifact/proof/parity.py", "if flips > few + own.flips:", "if False:", EXPORT),
    Mutation("no file digest compared", "artifact/manifest.py", "if file_digest(file) != digest:", "if False:", EXPORT),
    Mutation("scales of the wrong axis", "exporters/onnx_ops.py", "op.DequantizeLinear(codes, scale, axis=axis)", "op.DequantizeLinear(codes, scale, axis=0)", "tests/oracles/test_tied_weights.py"),
    Mutation("low level left out", "exporters/onnx_ops.py", "offset = 0 if parts else low", "offset = 0", "tests/contracts/test_format_parity.py"),
]  # fmt: skip


def survives(mutation: Mutation) -> str | None:
    """What is wrong where no test fails for a mutation; None where one does."""
    source = (ROOT / "src" / "limbeck" / mutation.file).read_text(encoding="utf-8")
    if source.count(mutation.before) != 1:
        return f"`{mutation.before}` stands {source.count(mutation.before)} times in the file"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in (
            "src",
            "tests",
            "docs",
            "recipes",
            "pyproject.toml",
            "CONTRIBUTING.md",
            "README.md",
        ):
            whole = ROOT / name
            if whole.is_dir():
                shutil.copytree(whole, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(whole, copy / name)
        changed = source.replace(mutation.before, mutation.after)
        (copy / "src" / "limbeck" / mutation.file).write_text(changed, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *mutation.tests.split()],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy / "src")},
            capture_output=True,
            text=True,
        )
    # 1: tests ran and some failed. Anything else (no test, a broken import) proves nothing.
    return None if done.returncode == 1 else f"pytest ended with {done.returncode}"


def main() -> int:
    """Run the mutations that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    chosen = [
        mutation
        for mutation in MUTATIONS
        if not arguments.words
        or any(word in f"{mutation.file} {mutation.what}" for word in arguments.words)
    ]
    caught = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for mutation, problem in zip(chosen, pool.map(survives, chosen), strict=True):
            caught += problem is None
            said = "caught" if problem is None else f"SURVIVES: {problem}"
            print(f"{said:8}  {mutation.file}: {mutation.what}", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    return caught != len(chosen)


if __name__ == "__main__":
    sys.exit(main())
