"""CAM++, a speaker embedding: FCM front-end, densely connected TDNN, context-aware masking (arXiv 2303.00332).

Module names follow the published checkpoint, so that its state dict loads strictly.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEL_BINS = 80
LAYERS_AND_DILATIONS = ((12, 1), (24, 2), (16, 2))  # of the three dense blocks
BATCH_NORM_EPSILON = 1e-5  # torch's default, with which the checkpoint was trained
SEGMENT = 100  # frames of the local context of a mask (arXiv 2303.00332, Sec. 2.2)


class CAMPPlus(nn.Module):
    """The part of CAM++ before its statistics pooling; `xvector.projection` is the layer after it.

    Input: (batch, frames, 80), Kaldi's log-mel filterbank every 10 ms, less its mean over the input. Output: (batch,
    512, ceil(frames / 2)), one feature vector every 20 ms.
    """

    dimension = 192

    def __init__(self) -> None:
        super().__init__()
        self.head = _Front()
        self.xvector = _XVector(self.head.out_channels)

    def frames_of_fbank(self, fbank: Tensor) -> Tensor:
        """Compute features. (Not `forward`, whose name would enter the nodes of ONNX files.)"""
        return self.xvector.frames(self.head(fbank.transpose(1, 2)))


def _named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _batchnorm_relu(channels: int) -> nn.Sequential:
    return _named(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU())


class _ResidualBlock(nn.Module):
    """3 × 3 residual block that strides over frequency only."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class _Front(nn.Module):
    """Front-end convolution module: (batch, 80, frames) → (batch, 320, frames)."""

    def __init__(self, channels: int = 32):
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(_ResidualBlock(channels, 2), _ResidualBlock(channels, 1))
        self.layer2 = nn.Sequential(_ResidualBlock(channels, 2), _ResidualBlock(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.out_channels = channels * (MEL_BINS // 8)

    def forward(self, fbank: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(fbank.unsqueeze(1))))
        out = self.layer2(self.layer1(out))
        out = F.relu(self.bn2(self.conv2(out)))
        return out.flatten(1, 2)


class _ContextAwareMasking(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, dilation: int):
        super().__init__()
        self.linear_local = nn.Conv1d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(in_channels, in_channels // 2, 1)
        self.linear2 = nn.Conv1d(in_channels // 2, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        local = self.linear_local(x)
        context = x.mean(-1, keepdim=True) + _segment_means(x)
        mask = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        return local * mask


def _segment_means(x: Tensor) -> Tensor:
    """Return the mean of each segment of 100 frames, repeated over the segment: (batch, channels, frames) → the same
    shape.

    The input is padded explicitly, because ONNX Runtime divides the last, partial segment of
    `avg_pool1d(ceil_mode=True)` by 100.
    """
    sums = F.avg_pool1d(F.pad(x, (0, SEGMENT - 1)), SEGMENT)
    filled = F.avg_pool1d(F.pad(torch.ones_like(x[:, :1]), (0, SEGMENT - 1)), SEGMENT)
    means = sums / filled
    return means.unsqueeze(-1).expand(-1, -1, -1, SEGMENT).flatten(-2)[..., : x.shape[-1]]


def _dense_layer(in_channels: int, growth: int, bottleneck: int, dilation: int) -> nn.Sequential:
    return _named(
        nonlinear1=_batchnorm_relu(in_channels),
        linear1=nn.Conv1d(in_channels, bottleneck, 1, bias=False),
        nonlinear2=_batchnorm_relu(bottleneck),
        cam_layer=_ContextAwareMasking(bottleneck, growth, dilation),
    )


class _DenseBlock(nn.Module):
    """Layers whose input is the concatenation of the block's input and the outputs of all layers before them."""

    def __init__(self, layers: int, in_channels: int, growth: int, bottleneck: int, dilation: int):
        super().__init__()
        for i in range(layers):
            self.add_module(f"tdnnd{i + 1}", _dense_layer(in_channels + i * growth, growth, bottleneck, dilation))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class _XVector(nn.Module):
    def __init__(self, in_channels: int, growth: int = 32, bottleneck: int = 128):
        super().__init__()
        channels = 128
        self.tdnn = _named(  # halves the frame rate
            linear=nn.Conv1d(in_channels, channels, 5, stride=2, padding=2, bias=False),
            nonlinear=_batchnorm_relu(channels),
        )
        for i, (layers, dilation) in enumerate(LAYERS_AND_DILATIONS, start=1):
            self.add_module(f"block{i}", _DenseBlock(layers, channels, growth, bottleneck, dilation))
            channels += layers * growth
            halving = nn.Conv1d(channels, channels // 2, 1, bias=False)
            self.add_module(f"transit{i}", _named(nonlinear=_batchnorm_relu(channels), linear=halving))
            channels //= 2
        self.out_nonlinear = _batchnorm_relu(channels)
        self.dense = _named(
            linear=nn.Conv1d(2 * channels, CAMPPlus.dimension, 1, bias=False),
            nonlinear=_named(batchnorm=nn.BatchNorm1d(CAMPPlus.dimension, affine=False)),
        )

    def frames(self, x: Tensor) -> Tensor:
        """Compute features: (batch, 320, frames) → (batch, 512, ceil(frames / 2))."""
        x = self.tdnn(x)
        for i, _ in enumerate(LAYERS_AND_DILATIONS, start=1):
            block, transit = self.get_submodule(f"block{i}"), self.get_submodule(f"transit{i}")
            x = transit(block(x))
        return self.out_nonlinear(x)

    def projection(self) -> tuple[Tensor, Tensor]:
        """Return the embedding layer and its batch norm as one affine map: weight (192, 1024), bias (192,)."""
        norm = self.dense.get_submodule("nonlinear.batchnorm")
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = torch.rsqrt(variance + BATCH_NORM_EPSILON)
        return self.dense.get_parameter("linear.weight").squeeze(-1) * scale[:, None], -mean * scale
