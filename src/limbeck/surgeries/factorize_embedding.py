"""The word embeddings W (V, D) as a table (V, E) and a projection (E, D): V E + E D weights instead of V D (ALBERT, Lan et al., 2019,
arXiv 1909.11942, section 3.1).

ALBERT trains both from scratch; here they start at the nearest product of rank E (Eckart and Young, 1936), the truncated singular value
decomposition W ~ (U sqrt(S)) (V sqrt(S))^T, in float64. The root goes to both, so that steps and integer grids of both meet values of like size.
Of rank min(V, D) nothing is lost but float32's rounding, and nothing saved.
"""

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from limbeck.models.factorized import FactorizedEmbedding
from limbeck.surgeries import Cut, Evidence
from limbeck.surgeries._embeddings import word_embeddings


@dataclass(frozen=True)
class FactorizeEmbedding:
    """`rank`: E."""

    rank: int

    reads_rows: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = ()

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A copy of `teacher` with its word embeddings factorized. Raises ValueError for a rank that W cannot have, and for a second time."""
        student = copy.deepcopy(teacher)
        name, embedding = word_embeddings(student, "factorize_embedding")
        if isinstance(student.get_submodule(name.rpartition(".")[0]), FactorizedEmbedding):
            raise ValueError(
                f"factorize_embedding: `{name}` of the teacher is factorized already, with rank {embedding.embedding_dim}"
            )
        most = min(embedding.weight.shape)
        if not 1 <= self.rank <= most:
            raise ValueError(
                f"factorize_embedding: rank {self.rank} is not between 1 and {most}, the rank of `{name}` {tuple(embedding.weight.shape)}"
            )
        student.set_submodule(name, factorized(embedding, self.rank).train(student.training))
        return Cut(student)


@torch.no_grad()
def factorized(embedding: nn.Embedding, rank: int) -> FactorizedEmbedding:
    """The nearest product."""
    left, values, right = torch.linalg.svd(embedding.weight.detach().double(), full_matrices=False)
    root = values[:rank].sqrt()
    found = FactorizedEmbedding(embedding, rank)
    found.table.weight.copy_(left[:, :rank] * root)
    found.projection.weight.copy_((right[:rank].T) * root)
    return found
