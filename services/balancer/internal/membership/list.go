package membership

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"udplab/services/kit/config"
)

// Server is one server as it is configured.
type Server struct {
	Name string
	Host string // a name or an address
	Port string
}

// Address is where the server is, as "host:port".
func (s Server) Address() string { return net.JoinHostPort(s.Host, s.Port) }

func (s Server) String() string { return s.Name + "=" + s.Address() }

// List is the servers in turn order, written "name=host:port,…". A name that
// is left out becomes server1, server2, … by its position.
type List []Server

const wantList = "a list like server1=localhost:2526,server2=localhost:2527"

// UnmarshalText reads a list. It refuses an empty one, an entry that is not
// name=host:port, and a name or an address that comes twice.
func (l *List) UnmarshalText(text []byte) error {
	var list List
	seen := map[string]string{} // names and addresses to the entry that had them
	for i, entry := range strings.Split(string(text), ",") {
		server, err := parse(strings.TrimSpace(entry), i)
		if err != nil {
			return err
		}
		for _, key := range []string{server.Name, strings.ToLower(server.Address())} {
			if first, twice := seen[key]; twice {
				return config.Problem{Value: server.String(), Want: fmt.Sprintf("each name and address once; %s has it already", first)}
			}
			seen[key] = server.String()
		}
		list = append(list, server)
	}
	*l = list
	return nil
}

// parse reads one entry; its place in the list counts from 0.
func parse(entry string, place int) (Server, error) {
	name, address, named := strings.Cut(entry, "=")
	if !named {
		name, address = fmt.Sprintf("server%d", place+1), entry
	}
	host, port, err := net.SplitHostPort(address)
	ip, noIP := netip.ParseAddr(host)
	var want string
	switch {
	case entry == "":
		want = wantList
	case name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, awkward):
		want = "a server's name without spaces or control characters before the ="
	case err != nil || host == "" || config.Port(port) != nil:
		want = "name=host:port with a port from 1 to 65535"
	case noIP == nil && isNoHost(ip):
		want = "the address of one server"
	case strings.ContainsFunc(host, awkward) || noIP != nil && !canResolve(host):
		want = "an address, or a name of letters, digits, hyphens and dots, as the host"
	default:
		return Server{Name: name, Host: host, Port: port}, nil
	}
	return Server{}, config.Problem{Value: entry, Want: want}
}

// labels are those of a name in DNS, 1 to 63 bytes each (RFC 1035 section 2.3.4),
// with the underscore that container names have.
var labels = regexp.MustCompile(`^\w([\w-]{0,61}\w)?(\.\w([\w-]{0,61}\w)?)*$`)

// canResolve says whether a name of 253 bytes at the most could ever be in DNS.
// Digits and dots alone are an address that was mistyped.
func canResolve(name string) bool {
	name = strings.TrimSuffix(name, ".")
	return len(name) <= 253 && labels.MatchString(name) && strings.Trim(name, "0123456789.") != ""
}

// awkward are characters that no name can have if it is to be shown in a log
// line, a metric's label and a reply.
func awkward(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '"' || r == '='
}
