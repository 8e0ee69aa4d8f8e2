"""Writes pytorch_zip.pth and pytorch_legacy.pth beside itself (made with PyTorch 2.x; not run by the tests)."""
from collections import OrderedDict
from pathlib import Path

import torch


def sevenths(count, dtype=torch.float32):
    return torch.arange(count, dtype=dtype) / 7


state = OrderedDict([
    ("module.conv.weight", sevenths(120).reshape(4, 3, 2, 5).contiguous(memory_format=torch.channels_last)),
    ("module.fc.weight", torch.nn.Parameter(sevenths(6).reshape(2, 3))),
    ("module.bn.num_batches_tracked", torch.tensor(12345678901)),
    ("module.half", sevenths(8).half()),
    ("module.view", sevenths(12, torch.float64).reshape(3, 4).t()[1:3]),
    ("module.bfloat", sevenths(5).bfloat16()),
    ("module.mask", torch.tensor([True, False, True])),
    ("module.bytes", torch.arange(7, dtype=torch.int8) - 3),
])
checkpoint = {
    "epoch": 3,
    "best_prec": 91.25,
    "state_dict": state,
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2, 3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
}
folder = Path(__file__).parent
torch.save(checkpoint, folder / "pytorch_zip.pth")
torch.save(checkpoint, folder / "pytorch_legacy.pth", _use_new_zipfile_serialization=False)
