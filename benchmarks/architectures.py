"""Which architectures of `transformers` work, and what is said of those that do not: the table of
docs/guide.md.

    python benchmarks/architectures.py              all of them, about half an hour
    python benchmarks/architectures.py bert vit     these; the other rows stay as they are

Each is made tiny and random, and goes through all that a run does with it, in a process of its own
with a time limit:

    load    the encoder's file gets a new head, and answers a row alone as beside a longer one
    cut     one of its two layers is left out, and comes back from its folder
    joint   three quantized training steps, with a loss that stays finite
    export  the ONNX graph, with every quantized product in an integer kernel
    parity  the graph answers as the model does, over other batches, lengths and padding
"""

import contextlib
import importlib
import io
import json
import multiprocessing
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

STEPS = ("load", "cut", "joint", "export", "parity")
GUIDE = Path(__file__).parents[1] / "docs" / "guide.md"
BEGIN = "<!-- made by benchmarks/architectures.py: begin -->"
END = "<!-- made by benchmarks/architectures.py: end -->"

FORK = multiprocessing.get_context("fork")

# One that takes longer is stuck.
LIMIT_S = 240

# How far the graph may be from the model, as a share: a rounding that falls the other way.
MOST_ERROR = 0.03
# A reason is one cell of a table.
MOST_LETTERS = 230

WORDS = [
    "sun",
    "rain",
    "wind",
    "snow",
    "fog",
    "hail",
    "storm",
    "cloud",
    "ice",
    "sleet",
    "dew",
    "mist",
]
SIDE = 32

# Every size of every configuration, small; one that has no such key ignores it.
SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.15,
    "image_size": SIDE,
    "patch_size": 8,
}

IN_STAGES = {key: SMALL[key] for key in ("initializer_range", "image_size")}

# What an architecture needs beside, by its name in `transformers`.
TEXTS: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16, "num_hidden_groups": 1},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    "bert": {},
    "big_bird": {"attention_type": "original_full"},
    "bloom": {"n_layer": 2, "n_head": 2},
    "camembert": {},
    "canine": {"num_hash_buckets": 64},
    "convbert": {"embedding_size": 32, "head_ratio": 1},
    "data2vec-text": {},
    "deberta": {"pos_att_type": ["c2p", "p2c"], "relative_attention": True, "type_vocab_size": 0},
    "deberta-v2": {"pos_att_type": ["c2p", "p2c"], "relative_attention": True, "position_buckets": 8, "type_vocab_size": 0},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {"embedding_size": 16},
    "ernie": {},
    "esm": {"position_embedding_type": "rotary", "mask_token_id": 4},
    "eurobert": {},
    "falcon": {"head_dim": None},
    "flaubert": {"emb_dim": 32, "n_layers": 2, "n_heads": 2},
    "fnet": {},
    "funnel": {
        "num_hidden_layers": None,"d_model": 32, "block_sizes": [1, 1], "n_head": 2, "d_head": 16, "d_inner": 64, "num_decoder_layers": 1},
    "gemma": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "gpt_neox": {},
    "gte": {},
    "ibert": {},
    "layoutlm": {},
    "lilt": {},
    "llama": {},
    "longformer": {"attention_window": 8},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 16},
    "megatron-bert": {},
    "mistral": {},
    "mobilebert": {"embedding_size": 32, "true_hidden_size": 32, "intra_bottleneck_size": 16, "num_feedforward_networks": 1},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "mpnet": {},
    "mra": {},
    "mt5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "decoder_start_token_id": 0, "eos_token_id": 2, "num_heads": 2},
    "nomic_bert": {},
    "nystromformer": {"num_landmarks": 4, "segment_means_seq_len": 64},
    "qwen2": {},
    "qwen3": {},
    "reformer": {"attn_layers": ["local"], "axial_pos_embds": False, "is_decoder": False},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "roberta": {},
    "roberta-prelayernorm": {},
    "roformer": {"embedding_size": 32},
    "squeezebert": {"embedding_size": 32, "q_groups": 1, "k_groups": 1, "v_groups": 1},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "decoder_start_token_id": 0, "eos_token_id": 2, "num_heads": 2},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 2},
    "xlm-roberta": {},
    "xlm-roberta-xl": {},
    "xlnet": {
        "max_position_embeddings": None,"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "yoso": {"use_expectation": True},
}  # fmt: skip
STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
IMAGES: dict[str, dict[str, Any]] = {
    "beit": {},
    "bit": {**STAGES, "embedding_size": 8, "num_groups": 2},
    "convnext": STAGES,
    "convnextv2": STAGES,
    "cvt": {"embed_dim": [8, 16, 16], "depth": [1, 1, 1], "num_heads": [1, 2, 2]},
    "data2vec-vision": {},
    "deit": {},
    "dinov2": {},
    "dinov2_with_registers": {},
    "donut-swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "patch_size": 4},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    "focalnet": {"embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3], "patch_size": 4},
    "hgnet_v2": {},
    "hiera": {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "image_size": [64, 64], "patch_size": [7, 7], "masked_unit_size": [8, 8], "query_stride": [2, 2], "num_query_pool": 1},
    "ijepa": {},
    "levit": {"hidden_sizes": [16, 16, 16], "depths": [1, 1, 1], "num_attention_heads": [2, 2, 2], "key_dim": [8, 8, 8], "patch_size": 16, "image_size": 64},
    "mobilenet_v1": {"depth_multiplier": 0.25, "tf_padding": True},
    "mobilenet_v2": {"depth_multiplier": 0.25, "tf_padding": True},
    "mobilevit": {"hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 32], "patch_size": 2, "num_attention_heads": 2},
    "mobilevitv2": {"patch_size": 2, "width_multiplier": 0.25},
    "poolformer": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "patch_size": 7},
    "pvt": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2], "patch_sizes": [4, 2, 2, 2]},
    "pvt_v2": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "regnet": {**STAGES, "embedding_size": 8, "groups_width": 4},
    "resnet": {**STAGES, "embedding_size": 8, "layer_type": "basic"},
    "segformer": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16},
    "siglip": {},
    "swiftformer": {"depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]},
    "swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "patch_size": 4},
    "swinv2": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "patch_size": 4},
    "vit": {},
    "vit_msn": {},
}  # fmt: skip


def config_of(name: str) -> Any:
    """The tiny configuration of an architecture."""
    import transformers

    needs = TEXTS[name] if name in TEXTS else IMAGES[name]
    # What works in stages counts its layers by stage, and names no sizes but those.
    has_stages = not needs.keys().isdisjoint({"depths", "depth", "depth_multiplier"})
    given = (IN_STAGES if has_stages else SMALL) | needs
    # None stands for a size that the architecture does not let itself be told.
    given = {key: value for key, value in given.items() if value is not None}
    kind: Any = transformers.CONFIG_MAPPING[name]
    if name == "siglip":
        return kind(vision_config=given, text_config=SMALL)
    # A list of heads, say, in place of their number.
    return kind(**given)


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of whole words beside the model."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    vocabulary = {token: number for number, token in enumerate(specials + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=60,
    )
    fast.save_pretrained(folder)


def write_model(name: str, folder: Path) -> None:
    """The encoder of an architecture in a folder, without a head, with what it reads by."""
    import torch
    import transformers

    config = config_of(name)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    if name in TEXTS:
        write_tokenizer(folder)
        return
    size = config.vision_config.image_size if name == "siglip" else config_side(config)
    settings = {
        "size": {"height": size, "width": size},
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
        "resample": 2,
        "do_resize": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def config_side(config: Any) -> int:
    """The side of the images that a model reads."""
    side = config.to_dict().get("image_size", SIDE)
    return int(side[0] if isinstance(side, (list, tuple)) else side)


def rows_of(name: str) -> list[dict[str, Any]]:
    """Texts of many lengths, or pictures, with labels."""
    generator = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number in range(24):
        label = "abc"[number % 3]
        if name in TEXTS:
            words = generator.choice(WORDS, 2 + number % 9)
            rows.append({"text": " ".join(words), "label": label})
        else:
            pixels = generator.integers(0, 256, (40, 40, 3)).astype(np.uint8)
            rows.append({"image": pixels, "label": label})
    return rows


class Trial:
    """One architecture on its way; each step leaves what the next one needs."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.told: list[str] = []

    def load(self) -> None:
        from limbeck.core import registry
        from limbeck.models.create import create_model
        from limbeck.models.preprocessing import preprocess
        from limbeck.models.probe import check_answers

        kind = "text-classification" if self.name in TEXTS else "image-classification"
        source = self.folder / "model"
        task_class = registry.load("tasks", kind)
        rows = rows_of(self.name)
        text = preprocess(str(source), task_class, rows, 48)
        self.task = task_class(["a", "b", "c"], text)
        self.encoded = self.task.encode(rows)
        self.model = create_model(str(source), {}, self.task, seed=0, tell=self.told.append)
        check_answers(self.model, self.task, self.encoded, "MODEL")

    def cut(self) -> None:
        import torch

        from limbeck.models.folders import load_model, save_model
        from limbeck.surgeries import Evidence
        from limbeck.surgeries.drop_layers import DropLayers

        student = DropLayers(layers=1).cut(self.model, Evidence(self.task, [])).student.eval()
        place = self.folder / "cut"
        place.mkdir()
        file = self.task.preprocess_file
        save_model(student, place, network=None, preprocess_file=file, text=self.task.preprocess)
        again = load_model(place, self.task).eval()
        inputs = self.batch(4)
        one, other = self.logits(student, inputs), self.logits(again, inputs)
        assert torch.equal(one, other), "the cut model comes back as another"
        assert not torch.equal(one, self.logits(self.model.eval(), inputs)), "nothing was cut"
        self.model = student

    def joint(self) -> None:
        import torch

        from limbeck.quantization.after_training import calibrate
        from limbeck.quantization.plan import plan_schemes
        from limbeck.quantization.prepare import prepare_model
        from limbeck.recipe.model import Quantize

        inputs = self.batch(24)
        model = self.model.eval()
        plan = plan_schemes(model, Quantize(), "uint8")
        prepare_model(model, plan, "lsq", lambda m: m(**inputs))
        calibrate(model, [lambda m: m(**inputs)])
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        labels = torch.tensor([int(row.labels[0]) for row in self.encoded])
        model.train()
        for _ in range(3):
            loss = torch.nn.functional.cross_entropy(self.raw_logits(model, inputs), labels)
            assert torch.isfinite(loss), f"the loss is {loss}"
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()

    def export(self) -> None:
        from limbeck.core import registry
        from limbeck.quantization.conversion import convert_model

        inputs = self.batch(4)
        registry.create("exporters", "onnx").export(convert_model(self.model), inputs, self.folder)

    def parity(self) -> None:
        from limbeck.artifact.runtimes import open_graph

        graph = open_graph(self.folder / "model.onnx", "onnxruntime", 1)
        worst = 0.0
        for rows in ([0], [8], [1, 5, 8], list(range(24))):
            inputs = self.batch_of(rows)
            expected = self.logits(self.model, inputs).numpy()
            found = graph({key: value.numpy() for key, value in inputs.items()})
            spread = float(np.abs(expected).max())
            worst = max(worst, float(np.abs(found - expected).max()) / spread)
        assert worst < MOST_ERROR, f"the graph is off by {worst:.1%} of the largest output"

    def batch(self, count: int) -> dict[str, Any]:
        return self.batch_of(list(range(count)))

    def batch_of(self, rows: list[int]) -> dict[str, Any]:
        from limbeck.models.torch_batches import batch_of

        return batch_of(self.encoded, np.array(rows), self.task.padding).inputs

    def raw_logits(self, model: Any, inputs: dict[str, Any]) -> Any:
        from limbeck.models.running import logits_of

        return logits_of(model(**inputs))

    def logits(self, model: Any, inputs: dict[str, Any]) -> Any:
        import torch

        with torch.no_grad():
            return self.raw_logits(model, inputs)


def attempt(name: str) -> dict[str, str]:
    """The row of one architecture: what became of each step, and the first reason."""
    row = dict.fromkeys(STEPS, "") | {"name": name, "reason": ""}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_model(name, folder / "model")
        trial = Trial(name, folder)
        steps: dict[str, Callable[[], None]] = {
            "load": trial.load,
            "cut": trial.cut,
            "joint": trial.joint,
            "export": trial.export,
            "parity": trial.parity,
        }
        for step, run in steps.items():
            try:
                run()
                row[step] = "yes"
            except Exception as error:
                # A refusal is a ValueError; the export's own errors `check` turns into one.
                is_told = isinstance(error, ValueError) or step == "export"
                row[step] = "refused" if is_told else "FAILS"
                reason = f"{step}: {one_line(error, str(folder))}"
                row["reason"] = "; ".join(filter(None, [row["reason"], reason]))
                # A model that cannot be cut may still be quantized whole.
                if step != "cut":
                    break
    return row


def one_line(error: Exception, path: str) -> str:
    """An error as a cell of a table."""
    text = str(error).strip() or type(error).__name__
    if path:
        text = text.replace(f"{path}/model", "MODEL").replace(path, "FOLDER")
    # A line in a package, without where this machine keeps it.
    text = re.sub(r"/\S+/site-packages/", "", text)
    if not isinstance(error, ValueError):
        text = f"{type(error).__name__}: {text}"
    first = text.splitlines()[0].replace("|", "/")
    return first if len(first) <= MOST_LETTERS else first[:MOST_LETTERS] + " ..."


def apart(name: str) -> dict[str, str]:
    """`attempt` in a process of its own, forked from this one: imports would take most of the time."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = FORK.Process(target=send_attempt, args=(name, there))
    process.start()
    there.close()
    row = dict.fromkeys(STEPS, "") | {"name": name, "load": "FAILS"}
    try:
        if not here.poll(LIMIT_S):
            return row | {"reason": f"longer than {LIMIT_S} s"}
        found: dict[str, str] = here.recv()
        return found
    except EOFError:
        return row | {"reason": "the process ended by itself"}
    finally:
        process.kill()
        process.join()


def send_attempt(name: str, pipe: Connection) -> None:
    """Send the row of an architecture, whatever becomes of it."""
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            row = attempt(name)
        except Exception as error:
            reason = f"made: {one_line(error, '')}"
            row = dict.fromkeys(STEPS, "") | {"name": name, "load": "FAILS", "reason": reason}
    pipe.send(row)


def line_of(row: dict[str, str]) -> str:
    """A row of the table."""
    kind = "texts" if row["name"] in TEXTS else "images"
    cells = [f"`{row['name']}`", kind, *(row[step] or "-" for step in STEPS), row["reason"]]
    return "| " + " | ".join(cells) + " |"


def write_table(rows: Sequence[dict[str, str]]) -> None:
    """Put rows into the guide's table, in place of those of the same names."""
    text = GUIDE.read_text()
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    lines = {}
    for line in old.splitlines():
        if line.startswith("| `"):
            lines[line.split("`")[1]] = line
    lines |= {row["name"]: line_of(row) for row in rows}
    header = "| architecture | reads | " + " | ".join(STEPS) + " | what is said |"
    rule = "|" + "---|" * (len(STEPS) + 3)
    known = [lines[name] for name in [*TEXTS, *IMAGES] if name in lines]
    table = "\n".join([header, rule, *known])
    GUIDE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def main(arguments: Sequence[str]) -> None:
    """All architectures, or those that are named."""
    # What every process needs is imported before the first is forked; threads would not survive it.
    import torch

    for module in ("transformers", "limbeck.exporters.onnx_graph", "limbeck.pipeline.context"):
        importlib.import_module(module)
    torch.set_num_threads(1)
    for name in arguments or [*TEXTS, *IMAGES]:
        row = apart(name)
        print(line_of(row), flush=True)
        # After each: a run that is stopped keeps what it has.
        write_table([row])


if __name__ == "__main__":
    main(sys.argv[1:])
