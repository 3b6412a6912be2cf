/**
 * Let xterm.js draw under a policy that allows no inline styles. It writes style elements and style attributes; here the same
 * rules go through the style sheet and declaration objects, which the policy allows, because no text of a page can reach them.
 */

const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function set(name, value) {
  if (name === 'style') this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

const createElement = Document.prototype.createElement;

/** An element that stands where a style element would and has its rules adopted by the document. */
function styles(page) {
  const place = createElement.call(page, 'template');
  const sheet = new CSSStyleSheet();
  page.adoptedStyleSheets = [...page.adoptedStyleSheets, sheet];
  Object.defineProperty(place, 'textContent', { set: (text) => sheet.replaceSync(text), get: () => '' });
  place.remove = () => {
    page.adoptedStyleSheets = page.adoptedStyleSheets.filter((each) => each !== sheet);
    Element.prototype.remove.call(place);
  };
  return place;
}

Document.prototype.createElement = function create(tag, options) {
  return tag === 'style' ? styles(this) : createElement.call(this, tag, options);
};
