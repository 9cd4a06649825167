"""Keep some of the teacher's layers, evenly spaced, the last one kept (DistilBERT, Sanh et al., 2019, arXiv 1910.01108, section 3; evenly as in
Fan, Grave, Joulin, 2020, arXiv 1909.11556). Keeping all of them gives the teacher itself."""

import copy
from dataclasses import dataclass

from torch import nn

from limbeck.features import blocks, evenly


@dataclass(frozen=True)
class DropLayers:
    """`layers`: how many to keep."""

    layers: int

    def cut(self, teacher: nn.Module) -> nn.Module:
        """A copy of `teacher` with `layers` of its layers. Raises ValueError where it has fewer."""
        student = copy.deepcopy(teacher)
        names = blocks(student)
        shapes = {tuple(parameter.shape for parameter in student.get_submodule(name).parameters()) for name in names}
        if self.layers < len(names) and len(shapes) > 1:
            raise ValueError(f"drop_layers: the layers of {type(teacher).__name__} differ in shape, so none can be left out")
        parent, _, attribute = names[0].rpartition(".")[0].rpartition(".")
        kept = nn.ModuleList([student.get_submodule(names[i]) for i in evenly(self.layers, len(names))])
        setattr(student.get_submodule(parent), attribute, kept)
        config = getattr(student, "config", None)  # a transformers model; our networks have none
        if config is not None:
            config.num_hidden_layers = self.layers
        return student
