// verify TREE VKEY PROOF...: checks a log's tree and proofs with Go's sumdb packages alone.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// tiles reads tiles where tlog-tiles has them: Go's paths also name the height and call entries data.
type tiles string

func (t tiles) Height() int { return 8 }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) (found [][]byte, err error) {
	for _, each := range wanted {
		path := strings.Replace(each.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(t), strings.Replace(path, "/data/", "/entries/", 1)))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func require(err error) {
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
}

func hash(text string) (found tlog.Hash) {
	data, err := base64.StdEncoding.DecodeString(text)
	require(err)
	copy(found[:], data)
	return found
}

// opened checks a checkpoint's signature and returns its size and root.
func opened(data []byte, key note.Verifier) tlog.Tree {
	found, err := note.Open(data, note.VerifierList(key))
	require(err)
	lines := strings.Split(found.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	require(err)
	return tlog.Tree{N: size, Hash: hash(lines[2])}
}

func checkProof(data string, key note.Verifier) {
	parts := strings.SplitN(data, "\n\n", 2)
	tree := opened([]byte(parts[1]), key)
	lines := strings.Split(parts[0], "\n")
	extra, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	require(err)
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	require(err)
	entry := sha256.Sum256(extra)
	if len(extra) == 64 {
		_, err = hex.Decode(entry[:], extra)
		require(err)
	}
	var proof tlog.RecordProof
	for _, each := range lines[3:] {
		proof = append(proof, hash(each))
	}
	require(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry[:])))
	fmt.Println("record", index+1, "of", tree.N, "is proven")
}

func checkTree(folder string, key note.Verifier, older []byte) {
	data, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	require(err)
	tree, old := opened(data, key), opened(older, key)
	reader := tlog.TileHashReader(tree, tiles(folder))
	for index := int64(0); index < tree.N; index++ {
		bundle := tlog.Tile{H: 8, L: -1, N: index / 256, W: 256}
		if tree.N < (bundle.N+1)*256 {
			bundle.W = int(tree.N % 256)
		}
		entries, err := tiles(folder).ReadTiles([]tlog.Tile{bundle})
		require(err)
		entry := entries[0][34*(index%256)+2 : 34*(index%256)+34]
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		require(err)
		require(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)))
	}
	proof, err := tlog.ProveTree(tree.N, old.N, reader)
	require(err)
	require(tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash))
	fmt.Println("tree of", tree.N, "grew from", old.N)
}

func main() {
	key, err := note.NewVerifier(os.Args[2])
	require(err)
	older, err := os.ReadFile(os.Args[3])
	require(err)
	checkTree(os.Args[1], key, older)
	for _, path := range os.Args[4:] {
		data, err := os.ReadFile(path)
		require(err)
		checkProof(string(data), key)
	}
}
