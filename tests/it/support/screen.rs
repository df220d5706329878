//! The screen of a terminal, from the bytes that it was sent: what a person sees in the end.

/// Lines of text with a cursor. It knows the controls that progress needs, and shows every other as it came.
struct Screen {
    /// In columns: what is longer goes on in the next line.
    width: usize,
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

/// The lines that are left when all of this was written to a terminal of this width; colours are left out.
pub fn last_screen(bytes: &str, width: usize) -> String {
    let mut screen = Screen { width, lines: Vec::new(), row: 0, column: 0 };
    let mut rest = bytes.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' => screen.column = 0,
            '\n' => screen.row += 1,
            '\u{1b}' => {
                let sequence: String = rest.clone().take_while(|c| !c.is_ascii_alphabetic()).collect();
                let end = rest.nth(sequence.chars().count());
                screen.control(sequence.trim_start_matches('['), end.unwrap_or_default());
            }
            c => screen.put(c),
        }
    }
    let lines = screen.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned() + "\n");
    lines.collect::<String>().trim_end().to_owned() + "\n"
}

impl Screen {
    fn line(&mut self) -> &mut Vec<char> {
        if self.lines.len() <= self.row {
            self.lines.resize(self.row + 1, Vec::new());
        }
        &mut self.lines[self.row]
    }

    fn put(&mut self, c: char) {
        if self.column == self.width {
            (self.row, self.column) = (self.row + 1, 0);
        }
        let column = self.column;
        let line = self.line();
        if line.len() <= column {
            line.resize(column + 1, ' ');
        }
        line[column] = c;
        self.column += 1;
    }

    fn control(&mut self, argument: &str, end: char) {
        let number = argument.parse().unwrap_or(1);
        let column = self.column;
        match (end, argument) {
            ('A', _) => self.row = self.row.saturating_sub(number),
            ('B', _) => self.row += number,
            ('G', _) => self.column = number.saturating_sub(1),
            ('K', "2") => self.line().clear(),
            ('K', "" | "0") => self.line().truncate(column),
            ('J', "" | "0") => {
                self.line().truncate(column);
                let row = self.row;
                self.lines.truncate(row + 1);
            }
            ('m' | 'h' | 'l', _) => {}
            _ => format!("\\e[{argument}{end}").chars().for_each(|c| self.put(c)),
        }
    }
}

#[test]
fn what_was_drawn_over_is_gone() {
    let drawn = "one\r\n\u{1b}[32mtwo\u{1b}[0m\r\nthree\r\u{1b}[1A\u{1b}[2Kzwei\r\n\u{1b}[Jdrei\u{1b}[?25h\r\n";
    assert_eq!(last_screen(drawn, 80), "one\nzwei\ndrei\n");
    assert_eq!(last_screen("abcde\rf", 3), "abc\nfe\n", "a line that is too long goes on in the next");
}
