"""Clips made by a denoiser.

The unit of volume is 2^20 pixels of a latent frame, of which one stands for several frames of the clip; that of the
decoder, 2^20 pixels of a frame of the clip. Attention is over space and time: its pairs grow with the square of the
volume, unless the model attends to one frame at a time.
"""

from inferprint.modalities.diffusion import diffusion

VIDEO = diffusion("video", "video", "Mpx frame")
