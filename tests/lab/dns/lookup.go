// The addresses that Go's own resolver finds for a name, one a line.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	addresses, err := net.LookupHost(os.Args[1])
	if err != nil {
		os.Exit(1)
	}
	for _, address := range addresses {
		fmt.Println(address)
	}
}
