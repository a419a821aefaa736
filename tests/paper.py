"""Tables, figures and the derivation as a reader of a paper sees them: compiled by pdflatex.

    python tests/paper.py FOLDER

Run by `make paper-test`, outside CI. It fails where LaTeX does, where something is wider than its
column, or where a figure has no vectors or a font that is not embedded. Look at FOLDER/paper.pdf.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

COMMANDS = (
    "train digits --smoke -o run",
    "train digits-ddpm --smoke -o plain",
    "evaluate run --steps 20 --max-images 16 --budget 800 --json run/result.json "
    "--per-image run/images.csv",
    "evaluate plain --steps 20 --max-images 16 --budget 800 --json plain/result.json "
    "--per-image plain/images.csv",
    "report run plain -o table.tex",
    "report run plain -o terms.tex --columns model,steps,bound,monte-carlo,evaluations",
    "report run plain -o steps.pdf --figure steps",
    "report run plain -o rate.pdf --figure rate",
    "report run plain -o histogram.pdf --figure histogram",
    "report run plain -o difference.pdf --figure difference",
    "report run plain -o training.pdf --figure training",
    "derive --tex derivation.tex",
)
FIGURES = ("steps", "rate", "histogram", "difference", "training")
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{amsmath,amssymb,booktabs,graphicx}
\begin{document}
\begin{table*}\centering\small\input{table.tex}\caption{The default columns.}\end{table*}
\begin{table*}\centering\input{terms.tex}\caption{Chosen columns.}\end{table*}
%s
\clearpage
\input{derivation.tex}
\end{document}
"""
FIGURE = r"\begin{figure}\includegraphics[width=\columnwidth]{%s.pdf}\caption{%s}\end{figure}"


def run(*command: str) -> str:
    """The command's output, shown where it fails."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{' '.join(command)} ended with {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def faults(log: str) -> list[str]:
    """What LaTeX finds wrong with a page that it makes all the same."""
    return [line for line in log.splitlines() if line.startswith(("Overfull", "LaTeX Warning"))]


def is_vector(figure: str) -> bool:
    """No picture of pixels in it, and every font embedded and of a kind that journals take."""
    fonts = [line.split() for line in run("pdffonts", figure).splitlines()[2:]]
    embedded = all(columns[-5] == "yes" and "Type 3" not in " ".join(columns) for columns in fonts)
    return embedded and bool(fonts) and len(run("pdfimages", "-list", figure).splitlines()) <= 2


def main() -> int:
    for program in ("pdflatex", "pdffonts", "pdfimages"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is missing: install a TeX with booktabs, and poppler's tools")
    folder = Path(sys.argv[1]).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    for command in COMMANDS:
        run(sys.executable, "-m", "nelbo", *command.split())
        print(f"nelbo {command}", flush=True)
    figures = "\n".join(FIGURE % (name, name.capitalize()) for name in FIGURES)
    Path("paper.tex").write_text(PAPER % figures)
    for _ in range(2):  # the second time with the numbers of the first
        run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex")
    wrong = faults(Path("paper.log").read_text(errors="replace"))
    wrong += [f"{name}.pdf is no vector figure" for name in FIGURES if not is_vector(f"{name}.pdf")]
    print("\n".join(wrong) or f"{folder / 'paper.pdf'}: nothing is wrong with it")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
