"""Which architectures of `transformers` work, and what is said of those that do not: the table of
docs/guide.md.

    python benchmarks/architectures.py              all of them, about half an hour
    python benchmarks/architectures.py bert vit     these; the other rows stay as they are

Each is made tiny and random, and goes through all that a run does with it, in a process of its own
with a time limit:

    load    the encoder's file gets a new head, and answers a row alone as beside a longer one
    cut     one of its two layers is left out, and comes back from its folder
    joint   some quantized training steps, with a loss that stays finite
    export  the ONNX graph, with every quantized product in an integer kernel, and its answers to
            inputs that nobody sent
    parity  the graph answers as the model does, over other batches, lengths and padding
    tags    the same, but for the cut, with a head that answers for each word
"""

import contextlib
import copy
import importlib
import io
import json
import multiprocessing
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

TAGS = "token-classification"
STEPS = ("load", "cut", "joint", "export", "parity", "tags")
GUIDE = Path(__file__).parents[1] / "docs" / "guide.md"
BEGIN = "<!-- made by benchmarks/architectures.py: begin -->"
END = "<!-- made by benchmarks/architectures.py: end -->"

FORK = multiprocessing.get_context("fork")

# One that takes longer is stuck.
LIMIT_S = 240

# Quantized steps.
NUM_STEPS = 8
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

RECIPE = """
task: {task}
data: {{source: rows}}
student: {{model: "{model}"}}
train: {{threads: 1, max_tokens: 48}}
quantize: {{}}
"""

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

# Narrow stages of many kernels amplify what the others pass on.
IN_STAGES = {"initializer_range": 0.05, "image_size": SIDE}

# What an architecture needs beside, by its name in `transformers`.
TEXTS: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16, "num_hidden_groups": 1},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    "bert": {},
    "big_bird": {"attention_type": "original_full"},
    "big_bird:block_sparse": {"attention_type": "block_sparse", "block_size": 4, "num_random_blocks": 1},
    "bigbird_pegasus": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "attention_type": "original_full"},
    "biogpt": {},
    "bloom": {"n_layer": 2, "n_head": 2},
    "camembert": {},
    "canine": {"num_hash_buckets": 64},
    "convbert": {"embedding_size": 32, "head_ratio": 1},
    "ctrl": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "dff": 64},
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
    "funnel": {"num_hidden_layers": None, "hidden_size": None, "num_attention_heads": None, "architectures": ["FunnelBaseModel"], "d_model": 32, "block_sizes": [1, 1], "n_head": 2, "d_head": 16, "d_inner": 64, "num_decoder_layers": 1},
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {},
    "glm": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "gpt_bigcode": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "gpt_neo": {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]},
    "gpt_neox": {},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "rotary_dim": 8},
    "gte": {},
    "ibert": {},
    "jamba": {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False, "mamba_d_state": 4},
    "layoutlm": {},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8},
    "lilt": {"hidden_size": 48},
    "llama": {},
    "longformer": {"attention_window": 8},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 16},
    "markuplm": {},
    "mbart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    "megatron-bert": {},
    "mistral": {},
    "mixtral": {"num_local_experts": 2, "num_experts_per_tok": 1},
    "mobilebert": {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 2},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "modernbert-decoder": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "mpnet": {},
    "mpt": {"d_model": 32, "n_heads": 2, "n_layers": 2, "max_seq_len": 64},
    "mra": {},
    "mt5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_hidden_layers": None, "num_layers": 3, "num_decoder_layers": 3, "decoder_start_token_id": 0, "eos_token_id": 2, "num_heads": 2},
    "nomic_bert": {},
    "nystromformer": {"num_landmarks": 64, "segment_means_seq_len": 64, "conv_kernel_size": 5},
    "nystromformer:512": {"num_landmarks": 4, "segment_means_seq_len": 512, "conv_kernel_size": 5},
    "olmo2": {},
    "openai-gpt": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "perceiver": {"num_latents": 8, "d_latents": 32, "d_model": 32, "num_self_attends_per_block": 2, "num_self_attention_heads": 2, "num_cross_attention_heads": 2},
    "perceiver:masked_lm": {"num_latents": 8, "d_latents": 32, "d_model": 32, "num_self_attends_per_block": 2, "num_self_attention_heads": 2, "num_cross_attention_heads": 2},
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen3": {},
    "reformer": {"attn_layers": ["local"], "axial_pos_embds": False, "is_decoder": False},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "roberta": {},
    "roberta-prelayernorm": {},
    "roc_bert": {"pronunciation_vocab_size": 64, "shape_vocab_size": 64, "pronunciation_embed_dim": 16, "shape_embed_dim": 16},
    "roformer": {"embedding_size": 32},
    "smollm3": {},
    "squeezebert": {"embedding_size": 32, "q_groups": 1, "k_groups": 1, "v_groups": 1},
    "stablelm": {},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_hidden_layers": None, "num_layers": 3, "num_decoder_layers": 3, "decoder_start_token_id": 0, "eos_token_id": 2, "num_heads": 2},
    "tapas": {},
    "umt5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_hidden_layers": None, "num_layers": 3, "num_decoder_layers": 3, "decoder_start_token_id": 0, "eos_token_id": 2, "num_heads": 2},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 2},
    "xlm-roberta": {},
    "xlm-roberta-xl": {},
    "xlnet": {"max_position_embeddings": None, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "yoso": {"use_expectation": True},
}  # fmt: skip
STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
IMAGES: dict[str, dict[str, Any]] = {
    "beit": {},
    "bit": {**STAGES, "embedding_size": 8, "num_groups": 2},
    "clip": {},
    "convnext": STAGES,
    "convnextv2": STAGES,
    "cvt": {"embed_dim": [8, 16, 16], "depth": [3, 3, 3], "num_heads": [1, 2, 2]},
    "data2vec-vision": {},
    "deit": {},
    "dinov2": {},
    "dinov2_with_registers": {},
    "donut-swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "patch_size": 4},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    "focalnet": {"embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3], "patch_size": 4},
    "hgnet_v2": {"depths": [1, 1, 1, 1], "stem_channels": [3, 8, 8], "stage_in_channels": [8, 16, 16, 32], "stage_mid_channels": [8, 8, 8, 8], "stage_out_channels": [16, 16, 32, 32], "stage_num_blocks": [1, 1, 2, 1], "stage_numb_of_layers": [2, 2, 2, 2], "hidden_sizes": [16, 16, 32, 32], "embedding_size": 8},
    "hiera": {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "image_size": [64, 64], "patch_size": [7, 7], "masked_unit_size": [8, 8], "query_stride": [2, 2], "num_query_pool": 1},
    "ijepa": {},
    "imagegpt": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "levit": {"hidden_sizes": [16, 16, 16], "depths": [1, 1, 1], "num_attention_heads": [2, 2, 2], "key_dim": [8, 8, 8], "patch_size": 16, "image_size": 64},
    "mobilenet_v1": {"depth_multiplier": 0.25, "tf_padding": True},
    "mobilenet_v2": {"depth_multiplier": 0.25, "tf_padding": True},
    "mobilevit": {"hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 32], "patch_size": 2, "num_attention_heads": 2},
    "mobilevitv2": {"depths": None, "width_multiplier": 0.25, "n_attn_blocks": [1, 1, 1], "image_size": 64},
    "poolformer": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "patch_size": 7},
    "pp_lcnet": {},
    "pvt": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2], "patch_sizes": [4, 2, 2, 2], "image_size": 64},
    "pvt_v2": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "regnet": {**STAGES, "embedding_size": 8, "groups_width": 4},
    "resnet": {**STAGES, "embedding_size": 8, "layer_type": "basic"},
    "segformer": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16},
    "siglip": {},
    "siglip2": {},
    "swiftformer": {"depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]},
    "swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "patch_size": 4},
    "swinv2": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "patch_size": 4},
    "textnet": {"hidden_sizes": [8, 8, 16, 16, 16], "conv_layer_kernel_sizes": [[[3, 3]], [[3, 3]], [[3, 3]], [[3, 3]]], "conv_layer_strides": [[2], [2], [2], [2]], "stem_out_channels": 8},
    "vit": {},
    "vit_msn": {},
}  # fmt: skip


# Files of these are published with a head, and what reads a text or an image is part of it.
WITH_HEADS = {
    "perceiver": "AutoModelForSequenceClassification",
    "perceiver:masked_lm": "AutoModelForMaskedLM",
    "pp_lcnet": "AutoModelForImageClassification",
}


def config_of(name: str) -> Any:
    """The tiny configuration of an architecture."""
    import transformers

    needs = TEXTS[name] if name in TEXTS else IMAGES[name]
    # Behind a colon stands which of an architecture's ways is meant.
    kind: Any = transformers.CONFIG_MAPPING[name.partition(":")[0]]
    # What works in stages counts its layers by stage, and names no sizes but those.
    has_stages = not needs.keys().isdisjoint({"depths", "depth", "depth_multiplier"})
    given = (IN_STAGES if has_stages else SMALL) | needs
    # None stands for a size that the architecture does not let itself be told.
    given = {key: value for key, value in given.items() if value is not None}
    if name in ("clip", "siglip", "siglip2"):
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
    model = getattr(transformers, WITH_HEADS.get(name, "AutoModel")).from_config(config)
    if name in IMAGES:
        meet_images(model, config_side(config))
    model.save_pretrained(folder)
    if name in TEXTS:
        write_tokenizer(folder)
        return
    size = config_side(config)
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
    settings = config.to_dict()
    side = settings.get("vision_config", settings).get("image_size", SIDE)
    return int(side[0] if isinstance(side, (list, tuple)) else side)


def meet_images(model: Any, side: int) -> None:
    """Let batch norms take the moments of some images, as those of any trained model have.

    At 0 and 1, where they begin, what they read grows or fades by the layer, up to 10^7 times, and
    one rounding that falls the other way decides the answer.
    """
    import torch

    pixels = np.stack([picture(np.random.default_rng(number), side) for number in range(64)])
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.momentum = None  # the mean over all batches
    model.train()
    # Models of texts and images have none, and are called in another way.
    has_norms = any(isinstance(each, torch.nn.BatchNorm2d) for each in model.modules())
    with torch.no_grad():
        if has_norms:
            model((values - 0.5) / 0.25)
    model.eval()


def picture(generator: np.random.Generator, side: int) -> np.ndarray:
    """Pixels (side, side, 3) of colours in large squares, as pictures have; noise is alike
    everywhere once it is averaged."""
    squares = generator.integers(0, 256, (4, 4, 3)).astype(np.float64)
    size = -(-side // len(squares))
    large = np.kron(squares, np.ones((size, size, 1)))[:side, :side]
    grainy = large + generator.normal(0, 10, large.shape)
    return grainy.clip(0, 255).astype(np.uint8)


def rows_of(name: str, kind: str) -> list[dict[str, Any]]:
    """Texts of many lengths, or pictures, with labels; for tags, words with one each."""
    generator = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number in range(24):
        label = "abc"[number % 3]
        if kind == TAGS:
            words = [str(word) for word in generator.choice(WORDS, 2 + number % 9)]
            tags = ["O" if WORDS.index(word) % 3 else "B-x" for word in words]
            rows.append({"words": words, "tags": tags})
        elif name in TEXTS:
            text = " ".join(generator.choice(WORDS, 2 + number % 9))
            rows.append({"text": text, "label": label})
        else:
            pixels = picture(generator, 40)
            # Something to be learned: answers that are all alike tell nothing apart.
            pixels[..., number % 3] //= 4
            rows.append({"image": pixels, "label": label})
    return rows


class Trial:
    """One architecture on its way; each step leaves what the next one needs."""

    def __init__(self, name: str, folder: Path, kind: str) -> None:
        """`folder` holds the model; `kind`: the task's name in a recipe."""
        self.name = name
        self.folder = folder
        self.kind = kind
        self.told: list[str] = []

    def load(self) -> None:
        from limbeck.core import registry
        from limbeck.models.anatomy.probe import check_answers
        from limbeck.models.create import create_model
        from limbeck.models.preprocessing import preprocess

        source = self.folder / "model"
        task_class = registry.load("tasks", self.kind)
        rows = rows_of(self.name, self.kind)
        text = preprocess(str(source), task_class, rows, 48)
        self.task = task_class(["O", "B-x"] if self.kind == TAGS else ["a", "b", "c"], text)
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
        # Where a tensor lies in memory moves the last bits of a sum.
        assert torch.allclose(one, other, atol=1e-5), "the cut model comes back as another"
        assert not torch.equal(one, self.logits(self.model.eval(), inputs)), "nothing was cut"
        self.model = student

    def joint(self) -> None:
        import torch

        from limbeck.models.running import run_model
        from limbeck.models.torch_batches import batch_of
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
        batch = batch_of(self.encoded, np.arange(24), self.task.padding)
        labels = batch.labels[batch.mask]
        model.train()
        for _ in range(NUM_STEPS):
            logits = run_model(model, batch).logits[batch.mask]
            loss = torch.nn.functional.cross_entropy(logits, labels)
            assert torch.isfinite(loss), f"the loss is {loss}"
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()

    def export(self) -> None:
        from limbeck.artifact.proof import golden
        from limbeck.core import registry
        from limbeck.quantization.conversion import convert_model

        inputs = self.batch(4)
        exporter = registry.create("exporters", "onnx")
        files = exporter.export(convert_model(self.model), inputs, self.folder)
        # Inputs that nobody sent, which every artifact holds.
        golden.write({name: value.numpy() for name, value in inputs.items()}, files, self.folder)

    def parity(self) -> None:
        from limbeck.artifact.runtimes import open_graph
        from limbeck.models.torch_batches import batch_of
        from limbeck.models.units import by_unit
        from limbeck.tasks import Scored
        from limbeck.training.scoring import score_split

        graph = open_graph(self.folder / "model.onnx", "onnxruntime", 1)
        numbers = list(range(len(self.encoded)))
        expected = score_split(self.model, self.encoded, self.task, one_by_one=True)

        def answers(rows: list[int]) -> list[np.ndarray]:
            """The logits (units, labels) of each row."""
            import torch

            batch = batch_of(self.encoded, np.array(rows), self.task.padding)
            found = graph({name: value.numpy() for name, value in batch.inputs.items()})
            units = by_unit(torch.from_numpy(found), batch.positions)
            return [each[mask].numpy() for each, mask in zip(units, batch.mask, strict=True)]

        # Each row alone, beside a longer one, and beside all.
        alone = [answers([number])[0] for number in numbers]
        beside = [answers([number, 8])[0] for number in numbers]
        for found in (alone, beside, answers(numbers)):
            logits = np.concatenate(found)
            self.judge(expected, Scored(logits, expected.labels, expected.offsets))

    def judge(self, expected: Any, found: Any) -> None:
        """Assert that two `Scored` are of one model, as a run judges it: in one row of them a
        rounding may fall the other way, or in as many as last bits move in the model itself."""
        from limbeck.artifact.proof.parity import compare, differences_of
        from limbeck.quantization.last_bits import move_last_bits
        from limbeck.training.scoring import score_split

        row = compare(expected, found, self.task, "onnxruntime")
        if not row["holds"]:
            models = [move_last_bits(copy.deepcopy(self.model), seed) for seed in range(3)]
            moved = [
                score_split(model, self.encoded, self.task, one_by_one=True).logits
                for model in models
            ]
            last_bits = differences_of(expected, moved, self.task)
            row = compare(expected, found, self.task, "onnxruntime", last_bits)
        told = (
            f"{row['far_off']} of {row['units']} answers are off by more than 5 % of their spread, "
            f"one by {row['max_abs_logit_difference'] / row['logit_spread']:.1f} of it"
        )
        assert row["holds"], told

    def foretold(self) -> Exception | None:
        """What a run says of the model before it trains anything; None where it says nothing."""
        from limbeck.core.cache.store import Store
        from limbeck.pipeline.context import RunContext
        from limbeck.pipeline.preflight.compatibility import resolved
        from limbeck.pipeline.preflight.exportable import require_usable
        from limbeck.recipe.reading import parse

        recipe = parse(RECIPE.format(task=self.kind, model=self.folder / "model"))
        found = rows_of(self.name, self.kind)
        rows = {"train": found * 4, "test": found}
        run = RunContext(resolved(recipe), Store(self.folder / "store"), rows=rows)
        try:
            require_usable(run)
        except ValueError as error:
            return error
        return None

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
    """The row of one architecture: what became of each step, and the first reason of each task."""
    row = dict.fromkeys(STEPS, "") | {"name": name, "reason": ""}
    kind = "text-classification" if name in TEXTS else "image-classification"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_model(name, folder / "model")
        outcomes, reasons = walk(Trial(name, folder, kind), STEPS[:-1])
        row |= outcomes
        if name in TEXTS:
            # The cut is the same with another head.
            steps = [step for step in STEPS[:-1] if step != "cut"]
            shutil.rmtree(folder / "store", ignore_errors=True)
            outcomes, others = walk(Trial(name, folder, TAGS), steps)
            bad = [outcome for outcome in outcomes.values() if outcome != "yes"]
            row["tags"] = bad[0] if bad else "yes"
            reasons += [f"tags: {reason}" for reason in others if reason not in reasons]
        row["reason"] = "; ".join(reasons)
    return row


def walk(trial: Trial, steps: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What became of the steps up to the first that does not work, and why."""
    outcomes, reasons = {}, []
    for step in steps:
        try:
            getattr(trial, step)()
            outcomes[step] = "yes"
        except Exception as error:
            # A refusal is a ValueError; what fails late has to be refused before any training.
            is_told = isinstance(error, ValueError)
            if step in ("export", "parity"):
                error = trial.foretold() or error
                is_told = isinstance(error, ValueError)
            outcomes[step] = "refused" if is_told else "FAILS"
            reasons.append(f"{step}: {one_line(error, str(trial.folder))}")
            # A model that cannot be cut may still be quantized whole.
            if step != "cut":
                break
    return outcomes, reasons


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
