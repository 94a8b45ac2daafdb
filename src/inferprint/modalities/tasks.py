"""Names of what models are used for, as logs and the Scope3 AI API state them."""

from __future__ import annotations

TASKS: dict[str, str] = {
    "text-generation": "generic:text-generator",
    "chat": "generic:text-generator",
    "question-answering": "generic:text-generator",
    "summarization": "generic:text-generator",
    "translation": "generic:text-generator",
    "image-to-text": "generic:vision-language-model",
    "visual-question-answering": "generic:vision-language-model",
    "multimodal-generation": "generic:vision-language-model",
    "text-embedding": "generic:text-encoder",
    "text-classification": "generic:text-encoder",
    "sentiment-analysis": "generic:text-encoder",
    "named-entity-recognition": "generic:text-encoder",
    "multimodal-embedding": "generic:image-encoder",
    "image-classification": "generic:image-encoder",
    "facial-recognition": "generic:image-encoder",
    "object-detection": "generic:object-detector",
    "image-segmentation": "generic:object-detector",
    "face-detection": "generic:object-detector",
    "image-generation": "generic:image-generator",
    "text-to-image": "generic:image-generator",
    "style-transfer": "generic:image-generator",
    "speech-to-text": "generic:speech-recogniser",
    "text-to-speech": "generic:speech-synthesiser",
    "speaker-identification": "generic:audio-encoder",
    "audio-classification": "generic:audio-encoder",
    "music-generation": "generic:music-generator",
    "recommendation-system": "generic:small-model",
    "reinforcement-learning": "generic:small-model",
    "anomaly-detection": "generic:small-model",
    "time-series-forecasting": "generic:small-model",
    "clustering": "generic:small-model",
    "code-generation": "generic:text-generator",
    "reranking": "generic:text-encoder",
    "transcription": "generic:speech-recogniser",
    "image-to-image": "generic:image-generator",
    "image-editing": "generic:image-generator",
    "inpainting": "generic:image-generator",
    "upscaling": "generic:image-generator",
    "text-to-video": "generic:video-generator",
    "image-to-video": "generic:video-generator",
    "video-generation": "generic:video-generator",
}
"""Task to the class of models that stands for it where no model is named: those of that API first, then our own."""

MAKES = {
    "generic:image-generator": ("image",),
    "generic:video-generator": ("video", "video+audio"),
    "generic:speech-synthesiser": ("text-to-audio",),
    "generic:music-generator": ("text-to-audio",),
}
"""Class of models to the kinds of models that do what it stands for; any that reads tokens where it is not here."""
