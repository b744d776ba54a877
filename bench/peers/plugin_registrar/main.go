// Registrar announces a CSI driver to the kubelet: it answers on a socket in the kubelet's folder of plugins with the
// name and the socket of the driver, and exits when the kubelet refuses it.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

type registrar struct {
	registration.UnimplementedRegistrationServer
	name, endpoint string
}

func (r registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              r.name,
		Endpoint:          r.endpoint,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r registrar) NotifyRegistrationStatus(
	_ context.Context, status *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		log.Fatalf("the kubelet refuses %s: %s", r.name, status.Error)
	}
	log.Printf("the kubelet has registered %s", r.name)
	return &registration.RegistrationStatusResponse{}, nil
}

func main() {
	name := flag.String("name", "", "name of the CSI driver")
	endpoint := flag.String("endpoint", "", "path of the driver's socket, on the node")
	socket := flag.String("socket", "", "path of the socket to listen on")
	flag.Parse()
	if err := os.RemoveAll(*socket); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, registrar{name: *name, endpoint: *endpoint})
	log.Fatal(server.Serve(listener))
}
