// Loads the page again if one of its scripts could not be fetched, as when the
// connection is lost in the midst of it. The page would stay as it is for ever.

addEventListener("error", ({ target }) => target.localName === "script" && setTimeout(() => location.reload(), 1000), true);
