// quantities prints what Kubernetes makes of quantities: a line for each JSON string on standard
// input, "!" where it is refused, else unscaled value and scale: value = unscaled / 10^scale.
package main

import (
	"bufio"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/api/resource"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<22)
	answers := bufio.NewWriter(os.Stdout)
	defer answers.Flush()
	for lines.Scan() {
		var quantity resource.Quantity
		if quantity.UnmarshalJSON(lines.Bytes()) != nil {
			fmt.Fprintln(answers, "!")
			continue
		}
		value := quantity.AsDec()
		fmt.Fprintln(answers, value.UnscaledBig(), value.Scale())
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
