package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// decompressor is the client's own, whose errors say what they are: a batch that does not decompress today does not do so tomorrow either.
type decompressor struct{ kgo.Decompressor }

// Decompress is documented at [kgo.Decompressor].
func (d decompressor) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	out, err := d.Decompressor.Decompress(src, codec)
	if err != nil {
		return nil, &decompressError{codec: codec, err: err}
	}
	return out, nil
}

// decompressError is a batch of records that cannot be read.
type decompressError struct {
	codec kgo.CompressionCodecType
	err   error
}

func (e *decompressError) Error() string {
	return fmt.Sprintf("compressed by codec %d (%s): %v", e.codec, codecName(e.codec), e.err)
}

func (e *decompressError) Unwrap() error { return e.err }

// codecName is the name of the codec that a batch's attributes tell.
func codecName(codec kgo.CompressionCodecType) string {
	names := map[kgo.CompressionCodecType]string{kgo.CodecGzip: "gzip", kgo.CodecSnappy: "snappy", kgo.CodecLz4: "lz4", kgo.CodecZstd: "zstd"}
	if name, known := names[codec]; known {
		return name
	}
	return "which this client does not know"
}
