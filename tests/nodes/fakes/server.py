"""Stand-in for ComfyUI's ``server``: remembers the texts shown under nodes."""


class PromptServer:
    class instance:
        texts: list[tuple[str, str]] = []

        @classmethod
        def send_progress_text(cls, text, node_id):
            cls.texts.append((node_id, text))
