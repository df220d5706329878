"use strict";
(function () {
  var steps = Array.prototype.slice.call(document.querySelectorAll(".step"));
  var by = function (id) { return document.getElementById(id); };
  var search = by("search"), run = by("run"), bad = by("bad"), shown = by("shown");
  by("tools").hidden = false;
  var texts = null;
  function apply() {
    var word = search.value.toLowerCase(), count = 0;
    if (word && !texts) { texts = steps.map(function (step) { return step.textContent.toLowerCase(); }); }
    steps.forEach(function (step, at) {
      var fits = (!run.value || step.dataset.run === run.value) && (!bad.checked || step.dataset.bad === "1") &&
        (!word || texts[at].indexOf(word) >= 0);
      step.hidden = !fits;
      if (fits) { count += 1; }
    });
    shown.textContent = count + " of " + steps.length + " steps";
  }
  var timer = 0;
  search.addEventListener("input", function () { clearTimeout(timer); timer = setTimeout(apply, 150); });
  run.addEventListener("change", apply);
  bad.addEventListener("change", apply);
  by("open").addEventListener("click", function () { steps.forEach(function (step) { step.open = !step.hidden; }); });
  by("close").addEventListener("click", function () { steps.forEach(function (step) { step.open = false; }); });
  document.addEventListener("keydown", function (event) {
    if (event.key === "/" && event.target === document.body) { event.preventDefault(); search.focus(); }
  });
  apply();
})();
