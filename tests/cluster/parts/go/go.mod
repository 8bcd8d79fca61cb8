// The Go that builds the rest, where there is none newer than Debian's: read by a Go that is too old to fetch it by itself.
module millstream.dev/parts/go

go 1.19

require golang.org/toolchain v0.0.1-go1.26.8.linux-amd64
