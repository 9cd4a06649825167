"""Replace the table of word embeddings by two small matrices (ALBERT, Lan et al., 2019, arXiv
1909.11942, section 3.1): W (V, D), a row for each of V words, becomes the product of a table (V, E)
and a projection (E, D), with V E + E D weights in place of V D.

ALBERT trains both from scratch; here they start at the nearest product of rank E (Eckart and Young,
1936), the truncated singular value decomposition W ~ (U sqrt(S)) (V sqrt(S))^T. The root goes to
both, so that steps and integer grids of both meet values of like size. Of rank min(V, D) nothing is
lost but float32's rounding, and nothing saved.
"""

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from limbeck.models.anatomy.factorized import FactorizedEmbedding
from limbeck.models.precision import in_float64
from limbeck.surgeries import Cut, Evidence
from limbeck.surgeries._embeddings import word_embeddings


@dataclass(frozen=True)
class FactorizeEmbedding:
    """`rank`: width of the factor between vocabulary and hidden size, E in ALBERT (section 3.1).

    Smaller saves bytes and costs quality; 128 is the paper's.
    """

    rank: int

    reads_rows: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = ()

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A copy of `teacher` with its word embeddings factorized.

        Raises ValueError for a rank that W cannot have, and for embeddings that are factorized
        already.
        """
        student = copy.deepcopy(teacher)
        name, embedding = word_embeddings(student, "factorize_embedding")
        # A factorized embedding's table is an embedding too, and would be factorized in turn.
        parent = student.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, FactorizedEmbedding):
            raise ValueError(
                f"factorize_embedding: `{name}` of the teacher is factorized already, "
                f"with rank {embedding.embedding_dim}"
            )
        shape = tuple(embedding.weight.shape)
        if not 1 <= self.rank <= min(shape):
            raise ValueError(
                f"factorize_embedding: rank {self.rank} is not between 1 and {min(shape)}, "
                f"the rank of `{name}` {shape}"
            )
        product = factorized(embedding, self.rank)
        student.set_submodule(name, product.train(student.training))
        return Cut(student)


@torch.no_grad()
def factorized(embedding: nn.Embedding, rank: int) -> FactorizedEmbedding:
    """The nearest product, on the embedding's device."""
    # In float64 and on the CPU: not every device has float64, and a student should not depend on
    # where it was cut.
    weight = in_float64(embedding.weight.detach().cpu())
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    # The first values are the largest, so what is cut off is the smallest error of this rank.
    root = values[:rank].sqrt()
    product = FactorizedEmbedding(embedding, rank)
    product.table.weight.copy_(left[:, :rank] * root)
    product.projection.weight.copy_(right[:rank].T * root)
    return product
