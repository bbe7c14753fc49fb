// passthrough is the least that an extender of kube-scheduler can be: filter lets every node pass,
// bind binds. Arguments: the address to listen at, and a kubeconfig.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	extender "k8s.io/kube-scheduler/extender/v1"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // no limit
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	http.HandleFunc("/filter", func(writer http.ResponseWriter, request *http.Request) {
		var args extender.ExtenderArgs
		if !decode(writer, request, &args) {
			return
		}
		answer(writer, extender.ExtenderFilterResult{NodeNames: args.NodeNames})
	})
	http.HandleFunc("/bind", func(writer http.ResponseWriter, request *http.Request) {
		var args extender.ExtenderBindingArgs
		if !decode(writer, request, &args) {
			return
		}
		binding := &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: args.PodNamespace, Name: args.PodName, UID: args.PodUID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: args.Node},
		}
		result := extender.ExtenderBindingResult{}
		err := client.CoreV1().Pods(args.PodNamespace).Bind(request.Context(), binding, metav1.CreateOptions{})
		if err != nil {
			result.Error = err.Error()
		}
		answer(writer, result)
	})
	return http.ListenAndServe(address, nil)
}

func decode(writer http.ResponseWriter, request *http.Request, into any) bool {
	if err := json.NewDecoder(request.Body).Decode(into); err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(writer http.ResponseWriter, result any) {
	writer.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(writer).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
