package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"

	"github.com/go-chi/chi/v5"
)

//go:embed static/* templates/* openapi.yaml
var embedded embed.FS

// asset is an embedded file. Its hash is part of its address, so that a
// browser may keep it for good and a new build is seen at once.
type asset struct {
	data []byte
	hash string
}

func loadAssets() (map[string]asset, error) {
	out := map[string]asset{}
	files, err := fs.Glob(embedded, "static/*")
	if err != nil {
		return nil, fmt.Errorf("web: assets: %w", err)
	}
	for _, name := range append(files, "openapi.yaml") {
		data, err := embedded.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("web: assets: %w", err)
		}
		sum := sha256.Sum256(data)
		out[path.Base(name)] = asset{data: data, hash: hex.EncodeToString(sum[:6])}
	}
	return out, nil
}

// static serves the style sheet, the module and the icon. They hold nothing of
// the user's.
func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	name := chi.URLParam(r, "name")
	a, ok := s.assets[name]
	if !ok || name == "openapi.yaml" {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("v") == a.hash {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(a.data))
}

// assetURL is where a page finds an asset.
func (s *Server) assetURL(name string) string {
	return "/static/" + name + "?v=" + s.assets[name].hash
}
