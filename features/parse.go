package features

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
)

// Load reads and compiles a definitions file. Its error is [Mistakes] where the file is there but wrong.
func Load(path string) (*Project, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read definitions: %w", err)
	}
	return Parse(path, text)
}

// Parse compiles the text of a definitions file. name is what mistakes call the file. An error is [Mistakes]: everything that is wrong with the text, at once; where the text is not even YAML, it is that alone.
func Parse(name string, text []byte) (*Project, error) {
	d := &decoder{reporter: reporter{file: name}}
	top, ok := d.root(text)
	if !ok {
		return nil, d.sorted()
	}
	said, _ := projectShape().read(d, top)
	p := newResolver(d).project(&said)
	if len(d.mistakes) > 0 {
		return nil, d.sorted()
	}
	p.Text = string(text)
	sum := sha256.Sum256(text)
	p.Hash = hex.EncodeToString(sum[:8])
	return p, nil
}
