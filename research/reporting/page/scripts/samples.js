// Texts that the model generated at its evaluations.

function samples() {
  const written = runs.map((run, index) => ({ index, run })).filter(({ run }) => run.samples.length);
  if (!written.length) return;
  find("samples").hidden = false;
  const [choice, slider] = [find("sample-run"), find("sample-index")];
  choice.append(...written.map(({ index, run }) => element("option", { value: index }, run.note ? `${run.name}  (${run.note})` : run.name)));
  choice.parentElement.hidden = written.length < 2;
  const show = () => {
    const { step, text } = runs[choice.value].samples[slider.value];
    find("sample-step").textContent = large(step);
    find("sample").textContent = text;
  };
  const choose = () => {
    slider.max = runs[choice.value].samples.length - 1;
    slider.value = slider.max;
    show();
  };
  choice.addEventListener("change", choose);
  slider.addEventListener("input", show);
  choose();
}
