// Before anything else of the page: keeps what goes wrong in it.
window.problems = [];
addEventListener("error", (event) => problems.push(event.message ?? "not loaded"), true);
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective));
console.error = (...words) => problems.push(words.join(" "));
