// Package random makes random cases for tests of the whole engine: definitions, a log, how it arrives, and what goes wrong meanwhile. A seed gives one case, always the same.
// [Model] says what must come of a case, by the words of design.md and the recorded plans; [Shrink] makes a case that fails as small as it gets, and [Case.String] shows it to people.
package random
