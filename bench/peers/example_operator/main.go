// Command example-operator reconciles the kind Page of example.test: a ConfigMap for each page, status, a finalizer.
//
// Its admission webhook refuses a page without a text. `example-operator CERTIFICATES PORT` reads tls.crt and tls.key
// again when they change. It prints `leading` when it is the leader.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const finalizer = "example.test/release"

var (
	page                                = schema.GroupVersionKind{Group: "example.test", Version: "v1", Kind: "Page"}
	leaseDuration, renewDeadline, retry = 6 * time.Second, 4 * time.Second, time.Second
)

type reconciler struct{ client.Client }

func newPage() *unstructured.Unstructured {
	made := &unstructured.Unstructured{}
	made.SetGroupVersionKind(page)
	return made
}

func (r reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	found := newPage()
	if err := r.Get(ctx, request.NamespacedName, found); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !found.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, r.release(ctx, found)
	}
	if controllerutil.AddFinalizer(found, finalizer) {
		return ctrl.Result{}, r.Update(ctx, found) // the event of this write causes the next reconcile
	}
	text, _, _ := unstructured.NestedString(found.Object, "spec", "text")
	published := &corev1.ConfigMap{}
	published.Namespace, published.Name = found.GetNamespace(), found.GetName()
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, published, func() error {
		published.Data = map[string]string{"text": text}
		return controllerutil.SetControllerReference(found, published, r.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	status := map[string]any{"text": text, "observedGeneration": found.GetGeneration()}
	if err := unstructured.SetNestedMap(found.Object, status, "status"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.Status().Update(ctx, found)
}

// release does what a finalizer is for: it records that the page is gone, and then lets the API server delete it.
func (r reconciler) release(ctx context.Context, found *unstructured.Unstructured) error {
	released := &corev1.ConfigMap{}
	released.Namespace, released.Name = found.GetNamespace(), "released"
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, released, func() error {
		if released.Data == nil {
			released.Data = map[string]string{}
		}
		released.Data[found.GetName()] = string(found.GetUID())
		return nil
	}); err != nil {
		return err
	}
	controllerutil.RemoveFinalizer(found, finalizer)
	return client.IgnoreNotFound(r.Update(ctx, found))
}

type validator struct{}

func (validator) ValidateCreate(_ context.Context, made *unstructured.Unstructured) (admission.Warnings, error) {
	if text, _, _ := unstructured.NestedString(made.Object, "spec", "text"); text == "" {
		return nil, errors.New("a page has a text")
	}
	return nil, nil
}

func (v validator) ValidateUpdate(ctx context.Context, _, changed *unstructured.Unstructured) (admission.Warnings, error) {
	return v.ValidateCreate(ctx, changed)
}

func (validator) ValidateDelete(context.Context, *unstructured.Unstructured) (admission.Warnings, error) {
	return nil, nil
}

func run(certificates, port string) error {
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return err
	}
	served := webhook.Options{Host: "127.0.0.1", Port: number, CertDir: certificates}
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Scheme:                  scheme,
		Metrics:                 server.Options{BindAddress: "0"},
		WebhookServer:           webhook.NewServer(served),
		LeaderElection:          true,
		LeaderElectionID:        "example-operator",
		LeaderElectionNamespace: "default",
		LeaseDuration:           &leaseDuration,
		RenewDeadline:           &renewDeadline,
		RetryPeriod:             &retry,
	})
	if err != nil {
		return err
	}
	// The manager starts the server of webhooks when it is asked for it.
	manager.GetWebhookServer().Register("/validate", admission.WithValidator(scheme, validator{}))
	go func() {
		<-manager.Elected()
		fmt.Println("leading")
	}()
	if err := ctrl.NewControllerManagedBy(manager).
		For(newPage()).
		Owns(&corev1.ConfigMap{}).
		Complete(reconciler{manager.GetClient()}); err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

func main() {
	ctrl.SetLogger(zap.New())
	if len(os.Args) != 3 {
		log.Fatal("usage: example-operator CERTIFICATES PORT")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}
