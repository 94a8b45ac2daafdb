"""Pictures made, changed or enlarged by a denoiser; the unit of volume is 2^20 pixels."""

from inferprint.modalities.diffusion import diffusion

IMAGE = diffusion("image", "image", "Mpx")
