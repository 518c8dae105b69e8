# SPDX-License-Identifier: Apache-2.0
"""`python -m docs.generate.drawings`: draws docs/images/house.svg and docs/images/frame_path.svg.

Inside the site the drawings are part of the page, in the colours of its palette; elsewhere the style below applies.
"""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from eulernet_core.whole_files import write_whole_text

IMAGES = Path(__file__).parents[1] / "images"
# Repeated in docs/stylesheets/site.css for drawings inside a page.
STYLE = """
  text { font: 13px system-ui, "Noto Sans", "DejaVu Sans", sans-serif; fill: #1f2328; }
  .title { font-family: ui-monospace, "Noto Sans Mono", "DejaVu Sans Mono", monospace; font-weight: 600; }
  .note { font-size: 12px; fill: #59636e; }
  .box { fill: #f6f8fa; stroke: #818b98; }
  .data { fill: none; stroke: #818b98; stroke-dasharray: 5 3; }
  .base { fill: #ddf4ff; stroke: #54aeff; }
  .arrow { fill: none; stroke: #59636e; stroke-width: 1.5; }
  .flow { fill: none; stroke: #0969da; stroke-width: 1.5; stroke-dasharray: 5 3; }
  .head { fill: #59636e; } .flowhead { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .note { fill: #9198a1; } .box { fill: #21262d; } .base { fill: #12304d; }
    .arrow { stroke: #9198a1; } .flow { stroke: #58a6ff; } .head { fill: #9198a1; } .flowhead { fill: #58a6ff; }
  }
"""
LINE_PX, PADDING_PX = 18, 12


@dataclass
class Drawing:
    """An SVG of boxes and arrows. Coordinates are px."""

    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    def box(self, x: int, y: int, w: int, h: int, title: str, lines: tuple[str, ...] = (), kind: str = "box") -> None:
        """A rectangle with a title and lines of text. `kind`: box (code), data (files) or base."""
        self.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="6"/>')
        self.text(x + PADDING_PX, y + LINE_PX + 4, title, "title")
        for number, line in enumerate(lines, 2):
            self.text(x + PADDING_PX, y + LINE_PX * number + 6, line, "note")

    def text(self, x: int, y: int, text: str, kind: str = "", anchor: str = "start") -> None:
        """One line of text."""
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')

    def arrow(
        self, points: list[tuple[int, int]], kind: str = "arrow", label: str = "", at: tuple[int, int] = (0, 0)
    ) -> None:
        """A line through `points` with a head at the last. `kind`: arrow (imports) or flow (data)."""
        path = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(f'<polyline class="{kind}" points="{path}" marker-end="url(#{kind}head)"/>')
        if label:
            self.text(*at, label, "note", "middle")

    def svg(self) -> str:
        """The file's text."""
        heads = "".join(
            f'<marker id="{kind}head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path class="{name}" d="M0,0L10,5L0,10z"/></marker>'
            for kind, name in (("arrow", "head"), ("flow", "flowhead"))
        )
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}">\n'
            f"<style>{STYLE}</style>\n<defs>{heads}</defs>\n{body}\n</svg>\n"
        )


def house() -> Drawing:
    """The packages, who imports whom, and the files that they exchange."""
    drawing = Drawing(776, 510)
    x1, x2, x3, x4, w = 8, 206, 404, 602, 166
    drawing.box(x1, 8, w, 92, "eulernet_loadtest", ("client/", "load tester,", "perf_analyzer"))
    drawing.box(x2, 8, w, 92, "benchmarks, tests", ("may import", "everything"))
    drawing.box(x3, 8, w, 92, "plugins/diirf", ("CUDA kernels,", "TensorRT plugin"))
    drawing.box(x1, 158, w, 92, "eulernet_client", ("client/", "library, archives,", "reports"))
    drawing.box(x2, 158, w, 92, "eulernet_serving", ("serving/", "stages in Triton,", "embedded server"))
    drawing.box(x3, 158, w, 92, "eulernet_build", ("build/", "checkpoint to graphs", "to TensorRT plans"))
    drawing.box(x4, 158, w, 92, "eulernet", ("training/", "network, simulator,", "training, evaluation"))
    drawing.box(x2, 312, w, 74, "model_repository/", ("configurations, graphs,", "short model.py files"), "data")
    drawing.box(x4, 312, w, 74, "training/weights/", ("eulernet.pt and its", "model card"), "data")
    base = (
        "core/ every package above imports it, and it imports none of them",
        "tensor names, STATUS, clip geometry, limits, face boxes, JPEG, video, files, error rates",
    )
    drawing.box(x1, 418, 760, 80, "eulernet_core", base, "base")
    drawing.arrow([(x1 + 83, 100), (x1 + 83, 158)])
    drawing.arrow([(x3, 204), (x2 + w, 204)])
    drawing.arrow([(x3 + w, 204), (x4, 204)])
    drawing.arrow([(x3 + 83, 100), (x3 + 83, 158)], "flow", "plans load it", (x3 + 128, 134))
    drawing.arrow([(x4 + 83, 250), (x4 + 83, 312)], "flow", "train writes", (x4 + 124, 286))
    drawing.arrow([(x4, 349), (x3 + 136, 349), (x3 + 136, 250)], "flow", "export reads", (x3 + 128, 370))
    drawing.arrow([(x3 + 30, 250), (x3 + 30, 349), (x2 + w, 349)], "flow", "export writes", (x3 + 30, 370))
    drawing.arrow([(x2 + 83, 312), (x2 + 83, 250)], "flow", "model.py names", (x2 + 138, 286))
    drawing.arrow([(x1 + 83, 250), (x1 + 83, 349), (x2, 349)], "flow", "gRPC to Triton", (x1 + 100, 370))
    return drawing


def frame_path() -> Drawing:
    """A frame's way through the two ensembles."""
    drawing = Drawing(776, 400)
    drawing.box(8, 60, 112, 74, "client", ("live stream:", "one JPEG"))
    drawing.box(8, 250, 112, 74, "client", ("archive:", "four JPEGs"))
    drawing.parts.append('<rect class="data" x="146" y="8" width="490" height="384" rx="6"/>')
    drawing.text(158, 30, "Triton", "title")
    drawing.text(622, 30, "antispoof: state for each stream", "note", "end")
    drawing.text(622, 240, "antispoof_clip: no state", "note", "end")
    drawing.box(
        160, 60, 272, 92, "face_crop", ("checks the JPEG, finds", "and holds the face's box,", "decodes the face")
    )
    drawing.box(496, 60, 126, 92, "eulernet", ("one step with", "the filters'", "state"))
    drawing.box(160, 250, 272, 74, "clip_crop", ("one box for the whole clip,", "decodes four faces"))
    drawing.box(496, 250, 126, 74, "eulernet_clip", ("four frames", "at once"))
    drawing.box(660, 60, 108, 128, "outputs", ("LIVENESS", "LOCATION_MAP", "FACE_BOX", "FRAME_COUNT", "STATUS"), "data")
    for y in (106, 287):
        drawing.arrow([(120, y), (160, y)], "flow")
        drawing.arrow([(432, y), (496, y)], "flow")
    drawing.arrow([(622, 106), (660, 106)], "flow")
    drawing.arrow([(622, 287), (714, 287), (714, 188)], "flow")
    drawing.text(464, 350, "FACE 256x256, FACE_BOX, STATUS", "note", "middle")
    return drawing


def main() -> None:
    """Writes the files."""
    for name, drawing in (("house", house()), ("frame_path", frame_path())):
        write_whole_text(IMAGES / f"{name}.svg", drawing.svg())


if __name__ == "__main__":
    main()
