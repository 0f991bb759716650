// Package interop has no code, only tests: libraries that receivers use verify what a
// running jetpost has delivered to them.
//
// It is a module of its own, so that none of these libraries gets into the product's
// go.mod. The program under test is built from the module around it. In npm is the
// same for JavaScript; its tests run where node and npm are.
package interop
