"use strict";
// The pictures are not shown before this script has looked at the date: without it, none is.
(function () {
  const last = document.querySelector('meta[name="i2i-unlearn-expires"]').content;
  const end = Date.parse(last + "T00:00:00Z") + 24 * 3600 * 1000;
  const pictures = Array.from(document.querySelectorAll("img[data-source]"));

  function look() {
    const over = !(Date.now() < end);
    document.getElementById("over").hidden = !over;
    document.getElementById("current").hidden = over;
    for (const picture of pictures) {
      if (over) {
        picture.removeAttribute("src");
        picture.removeAttribute("data-source");
      } else if (!picture.src) picture.src = picture.dataset.source;
    }
    if (over) for (const laid of document.querySelectorAll(".lens-view img")) laid.removeAttribute("src");
    if (over && document.getElementById("lens").open) document.getElementById("lens").close();
  }

  document.getElementById("off").hidden = true;
  look();
  document.addEventListener("visibilitychange", look);
  setInterval(look, 60 * 1000);  // a page may stay open for days
})();
